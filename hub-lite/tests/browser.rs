//! The login page in a real browser, over the hub's own TLS: the style sheet and the script pass the policy, and the
//! page fits a phone.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says so and ends")]

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use felhom_hub::config::Config;
use felhom_hub::serve;

const BROWSER: &str = "/usr/bin/chromium";
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_browser_shows_the_login_and_finds_nothing_to_complain_about() {
    if std::env::var("FELHOM_NO_BROWSER").is_ok_and(|word| word == "1") {
        println!("FELHOM_NO_BROWSER=1: skipped, no browser was started");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let listen = ([127, 0, 0, 1], 0).into();
    let config = Config { data_dir: folder.path().join("hub"), listen, ..Config::default() };
    let hub = serve::start(config).await.unwrap();
    let url = format!("https://{}/login", hub.local_addr);
    let profile = folder.path().join("profile");
    let shown = tokio::task::spawn_blocking(move || browse(&profile, &url)).await.unwrap();
    hub.shutdown().await.unwrap();

    let (page, log) = (String::from_utf8_lossy(&shown.stdout), String::from_utf8_lossy(&shown.stderr));
    assert!(shown.status.success(), "{log}");
    assert!(page.contains("name=\"password\""), "{page}\n{log}");
    for complaint in ["Content Security Policy", "Refused to", "Uncaught", "net::ERR"] {
        assert!(!log.contains(complaint), "{log}");
    }
}

/// What the browser makes of a page, and its console. It is ended when it takes too long.
fn browse(profile: &std::path::Path, url: &str) -> Output {
    let mut browser = Command::new(BROWSER)
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--ignore-certificate-errors", "--enable-logging=stderr", "--window-size=360,740"])
        .arg(format!("--user-data-dir={}", profile.display()))
        .args(["--dump-dom", url])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{BROWSER}: {error}; FELHOM_NO_BROWSER=1 skips this test"));
    let begun = Instant::now();
    while browser.try_wait().unwrap().is_none() {
        if begun.elapsed() > PATIENCE {
            browser.kill().unwrap();
            let _ = browser.wait();
            panic!("the browser did not finish within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    browser.wait_with_output().unwrap()
}
