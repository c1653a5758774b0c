//! What a client meets on the wire and in the state, call by call: the promises other
//! crates' tests build on.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::io::Write;
use std::time::{Duration, Instant};

use fake_pve::{Download, FakePve, Fault, Kind, Options, TaskFault, Token};
use serde_json::Value;
use support::{Client, read_answer};

const TEMPLATE: &str = "local:vztmpl/debian-12-standard_12.12-1_amd64.tar.zst";
const LXC: &str = "/nodes/pve1/lxc";

fn start() -> (FakePve, Client) {
    let fake = FakePve::start(Options::default()).unwrap();
    let client = Client::new(&fake);
    (fake, client)
}

fn create_body(vmid: u32) -> String {
    format!(
        "vmid={vmid}&ostemplate={TEMPLATE}&rootfs=local-lvm:4&hostname=ct{vmid}&net0=name=eth0,bridge=vmbr0"
    )
    .replace("net0=name=eth0,bridge=vmbr0", "net0=name%3Deth0%2Cbridge%3Dvmbr0%2Cip%3Ddhcp")
}

fn idle(fake: &FakePve) {
    assert!(fake.control().wait_idle(Duration::from_secs(10)), "tasks do not end");
}

fn with_container(vmid: u32) -> (FakePve, Client) {
    let (fake, client) = start();
    client.call("POST", LXC, &create_body(vmid)).data();
    idle(&fake);
    (fake, client)
}

fn last_exit(fake: &FakePve) -> String {
    fake.control().snapshot().tasks.last().unwrap().exitstatus.clone().unwrap_or_default()
}

#[test]
fn a_good_answer_keeps_the_connection_and_an_error_closes_it() {
    let (_fake, client) = start();
    let mut stream = client.connect();
    for _ in 0..2 {
        stream.write_all(client.request("GET", "/version", "", "").as_bytes()).unwrap();
        assert_eq!(read_answer(&mut stream).unwrap().status, 200);
    }
    stream.write_all(client.request("GET", "/nosuch", "", "").as_bytes()).unwrap();
    let refused = read_answer(&mut stream).unwrap();
    assert_eq!((refused.status, refused.reason.as_str()), (501, "Method 'GET /nosuch' not implemented"));
    assert_eq!(refused.header("connection"), Some("close"));
    let _ = stream.write_all(client.request("GET", "/version", "", "").as_bytes());
    assert!(read_answer(&mut stream).is_none());
}

#[test]
fn an_idle_connection_is_closed() {
    let fake =
        FakePve::start(Options { keep_alive: Duration::from_millis(100), ..Options::default() }).unwrap();
    let client = Client::new(&fake);
    let mut stream = client.connect();
    stream.write_all(client.request("GET", "/version", "", "").as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 200);
    let since = Instant::now();
    assert!(read_answer(&mut stream).is_none());
    assert!(since.elapsed() < Duration::from_secs(3));
}

#[test]
fn bodies_where_none_belong_and_chunks_are_501_and_a_huge_body_is_cut() {
    let (_fake, client) = start();
    let get = client.call("GET", LXC, "a=b");
    assert_eq!((get.status, get.reason.as_str()), (501, "Unexpected content for method 'GET'"));
    let mut stream = client.connect();
    let request = client.request("POST", "/storage", "", "Transfer-Encoding: chunked\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    assert_eq!(read_answer(&mut stream).unwrap().status, 501);
    let huge = format!("storage=x&comment={}", "a".repeat(600 * 1024));
    assert!(client.try_call("POST", "/storage", &huge).is_none());
}

#[test]
fn keys_come_in_no_order_but_the_same_with_the_same_seed() {
    let bodies = |seed| {
        let fake = FakePve::start(Options { seed, ..Options::default() }).unwrap();
        let client = Client::new(&fake);
        (0..8).map(|_| client.call("GET", "/version", "").body).collect::<Vec<_>>()
    };
    let first = bodies(3);
    assert_eq!(first, bodies(3));
    assert!(first.iter().any(|b| *b != first[0]), "eight answers in one order");
}

#[test]
fn a_poor_token_sees_empty_lists_and_is_told_what_it_lacks() {
    let poor = Token::poor("low@pve!t", "s3").grant("/vms/101", &["VM.Audit"]);
    let fake = FakePve::start(Options { tokens: vec![poor], ..Options::default() }).unwrap();
    let low = Client::new(&fake).with_authorization(Some("PVEAPIToken=low@pve!t=s3"));
    fake.control().create_guest(100, Kind::Lxc, "theirs").unwrap();
    assert_eq!(low.call("GET", LXC, "").data(), Value::Array(vec![]));
    fake.control().create_guest(101, Kind::Lxc, "visible").unwrap();
    assert_eq!(low.call("GET", LXC, "").data()[0]["name"], "visible");
    let refused = low.call("DELETE", "/nodes/pve1/lxc/101", "");
    assert_eq!(
        (refused.status, refused.reason.as_str()),
        (403, "Permission check failed (/vms/101, VM.Allocate)")
    );
}

#[test]
fn a_created_container_is_locked_until_its_task_ends() {
    let (fake, client) = start();
    fake.control().set_task_time(Duration::from_millis(300));
    client.call("POST", LXC, &create_body(107)).data();
    let taken = client.call("POST", LXC, &create_body(107));
    assert_eq!((taken.status, taken.reason.as_str()), (500, "CT 107 already exists on node 'pve1'"));
    assert_eq!(client.call("GET", LXC, "").data()[0]["lock"], "create");
    idle(&fake);
    let config = client.call("GET", "/nodes/pve1/lxc/107/config", "").data();
    assert_eq!(config["rootfs"], "local-lvm:vm-107-disk-0,size=4G");
    assert!(config.get("lock").is_none());
    assert_eq!(config["unprivileged"], 1);
}

#[test]
fn a_worker_holds_the_guests_lock_and_a_caller_gives_up_waiting() {
    let (fake, client) = with_container(107);
    fake.control().set_task_time(Duration::from_millis(1200));
    client.call("PUT", "/nodes/pve1/lxc/107/resize", "disk=rootfs&size=6G").data();
    let refused = client.call("PUT", "/nodes/pve1/lxc/107/config", "cores=2");
    assert_eq!(refused.reason, "can't lock file '/run/lock/lxc/pve-config-107.lock' - got timeout");
    idle(&fake);
    client.call("PUT", "/nodes/pve1/lxc/107/config", "cores=2").data();
    let same = client.call("PUT", "/nodes/pve1/lxc/107/resize", "disk=rootfs&size=6G");
    assert_eq!(same.reason, "disk is already at specified size");
}

#[test]
fn a_mac_left_out_is_a_new_mac_and_the_digest_moves() {
    let (_fake, client) = with_container(107);
    let config = || client.call("GET", "/nodes/pve1/lxc/107/config", "").data();
    let before = config();
    client.call("PUT", "/nodes/pve1/lxc/107/config", "net0=bridge%3Dvmbr0%2Cname%3Deth0").data();
    let after = config();
    assert_ne!(before["net0"], after["net0"]);
    assert!(after["net0"].as_str().unwrap().starts_with("name=eth0,bridge=vmbr0,hwaddr=BC:24:11:"));
    assert_ne!(before["digest"], after["digest"]);
    let stale = format!("cores=1&digest={}", before["digest"].as_str().unwrap());
    assert_eq!(client.call("PUT", "/nodes/pve1/lxc/107/config", &stale).status, 500);
}

#[test]
fn a_missing_bridge_is_an_error_after_the_change_was_written() {
    let (fake, client) = with_container(107);
    fake.control().set_bridge("vmbr0", false);
    let answer = client.call("PUT", "/nodes/pve1/lxc/107/config", "memory=768");
    assert_eq!((answer.status, answer.reason.as_str()), (500, "bridge 'vmbr0' does not exist"));
    assert_eq!(client.call("GET", "/nodes/pve1/lxc/107/config", "").data()["memory"], 768);
}

#[test]
fn no_token_may_set_features_or_bind_mounts() {
    let (_fake, client) = with_container(107);
    let put = |body| client.call("PUT", "/nodes/pve1/lxc/107/config", body).reason;
    assert!(put("features=nesting%3D1%2Ckeyctl%3D1").contains("only allowed for root@pam"));
    assert!(put("mp0=/tmp%2Cmp%3D/host").contains("mount point type bind is only supported for root@pam"));
    assert_eq!(put("features=nesting%3D1"), "OK");
}

#[test]
fn faults_tell_a_change_that_happened_from_one_that_did_not() {
    let (fake, client) = with_container(107);
    let control = fake.control();
    let cores = || control.snapshot().guests[&107].config.get("cores").cloned();
    let path = "/nodes/*/lxc/107/config";
    let put = |n: u32| client.try_call("PUT", "/nodes/pve1/lxc/107/config", &format!("cores={n}"));
    control.add_fault(Fault::on("PUT", path).refuse(500, "no luck"));
    assert_eq!(put(1).unwrap().reason, "no luck");
    control.add_fault(Fault::on("PUT", path).close_before());
    assert!(put(1).is_none());
    assert_eq!(cores(), None);
    control.add_fault(Fault::on("PUT", path).apply_then(500, "too late"));
    assert_eq!(put(2).unwrap().status, 500);
    assert_eq!(cores().unwrap(), "2");
    control.add_fault(Fault::on("PUT", path).close_after());
    assert!(put(3).is_none());
    assert_eq!(cores().unwrap(), "3");
    assert_eq!(control.faults().iter().map(|f| f.hits).sum::<u32>(), 4);
    control.clear_faults();
    assert_eq!(put(4).unwrap().status, 200);
}

#[test]
fn a_596_leaves_the_task_running() {
    let (fake, client) = start();
    fake.control().add_fault(Fault::on("POST", "/nodes/*/lxc").apply_then(596, "Connection timed out"));
    let answer = client.call("POST", LXC, &create_body(107));
    assert_eq!((answer.status, answer.body.as_str()), (596, ""));
    idle(&fake);
    assert_eq!(last_exit(&fake), "OK");
    assert!(fake.control().snapshot().guests.contains_key(&107));
}

#[test]
fn a_call_slower_than_the_proxys_patience_is_596_and_still_happens() {
    let fake =
        FakePve::start(Options { proxy_timeout: Duration::from_millis(100), ..Options::default() }).unwrap();
    let client = Client::new(&fake);
    fake.control().create_guest(107, Kind::Lxc, "ct").unwrap();
    fake.control().add_fault(Fault::on("PUT", "*").delay_ms(300));
    assert_eq!(client.call("PUT", "/nodes/pve1/lxc/107/config", "cores=2").status, 596);
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(fake.control().snapshot().guests[&107].config["cores"], "2");
}

#[test]
fn tasks_fail_hang_or_die_as_told() {
    let (fake, client) = start();
    let control = fake.control();
    control.add_fault(Fault::on("POST", "/nodes/*/lxc").task_fails("no space left on device"));
    client.call("POST", LXC, &create_body(107)).data();
    idle(&fake);
    assert_eq!(last_exit(&fake), "no space left on device");
    assert!(!control.snapshot().guests.contains_key(&107), "a failed create cleans up");
    assert_eq!(control.snapshot().volumes_of(107), Vec::<&str>::new());

    control.add_fault(Fault::on("POST", "/nodes/*/lxc").with(fake_pve::Action::Task(TaskFault::Die)));
    client.call("POST", LXC, &create_body(108)).data();
    idle(&fake);
    assert_eq!(last_exit(&fake), "unexpected status");
    assert_eq!(control.snapshot().guests[&108].lock(), Some("create"), "a killed worker cleans nothing");

    control.add_fault(Fault::on("POST", "/nodes/*/lxc").task_hangs());
    let upid = client.call("POST", LXC, &create_body(109)).data();
    assert!(!control.wait_idle(Duration::from_millis(200)));
    let upid = upid.as_str().unwrap().replace('!', "%21").replace('@', "%40");
    client.call("DELETE", &format!("/nodes/pve1/tasks/{upid}"), "").data();
    idle(&fake);
    assert_eq!(last_exit(&fake), "interrupted by signal");
}

#[test]
fn the_node_can_be_half_down_in_several_ways() {
    let (fake, client) = with_container(107);
    let control = fake.control();
    control.set_daemon(false);
    let start = client.call("POST", "/nodes/pve1/lxc/107/status/start", "");
    assert_eq!((start.status, start.body.as_str()), (595, ""));
    assert_eq!(client.call("GET", "/version", "").status, 200);
    control.set_daemon(true);
    control.set_quorum(false);
    assert_eq!(
        client.call("PUT", "/nodes/pve1/lxc/107/config", "cores=1").reason,
        "cluster not ready - no quorum?"
    );
    control.set_quorum(true);
    control.set_storage_online("local-lvm", false).unwrap();
    assert_eq!(client.call("POST", LXC, &create_body(108)).status, 500);
    let storages = client.call("GET", "/nodes/pve1/storage", "").data();
    assert!(storages.as_array().unwrap().iter().any(|s| s["storage"] == "local-lvm" && s["active"] == 0));
}

#[test]
fn drift_by_hand_shows_and_a_lock_by_hand_holds() {
    let (fake, client) = with_container(107);
    let control = fake.control();
    control.edit_config(107, "memory", Some("4096")).unwrap();
    assert_eq!(client.call("GET", "/nodes/pve1/lxc/107/config", "").data()["memory"], 4096);
    control.set_lock(107, Some("backup")).unwrap();
    assert_eq!(client.call("DELETE", "/nodes/pve1/lxc/107", "").reason, "CT is locked (backup)");
    client.call("POST", "/nodes/pve1/lxc/107/status/start", "").data();
    idle(&fake);
    assert_eq!(last_exit(&fake), "CT is locked (backup)");
    control.set_lock(107, None).unwrap();
    control.destroy_guest(107).unwrap();
    let gone = client.call("GET", "/nodes/pve1/lxc/107/config", "");
    assert_eq!(gone.reason, "Configuration file 'nodes/pve1/lxc/107.conf' does not exist");
}

#[test]
fn a_renewed_certificate_is_not_the_pinned_one() {
    let (fake, client) = start();
    client.call("GET", "/version", "").data();
    fake.control().renew_certificate().unwrap();
    assert!(client.try_call("GET", "/version", "").is_none());
    Client::new(&fake).call("GET", "/version", "").data();
}

#[test]
fn the_log_counts_changes_apart_and_keeps_no_password() {
    let (fake, client) = start();
    let control = fake.control();
    control.reset_requests();
    client.call("GET", "/version", "").data();
    client.call("POST", LXC, &(create_body(107) + "&password=hunter22")).data();
    assert_eq!((control.counters().all, control.counters().changing), (2, 1));
    let log = control.requests();
    assert_eq!((log[1].method.as_str(), log[1].status), ("POST", 200));
    assert!(!format!("{log:?}").contains("hunter22"));
}

#[test]
fn a_template_clones_into_a_machine_with_its_own_mac() {
    let (fake, client) = start();
    let source = client.call("GET", "/nodes/pve1/qemu/9000/config", "").data();
    client.call("POST", "/nodes/pve1/qemu/9000/clone", "newid=200&name=app&full=1&storage=local-lvm").data();
    idle(&fake);
    let clone = client.call("GET", "/nodes/pve1/qemu/200/config", "").data();
    assert_eq!((clone["name"].as_str(), clone.get("template")), (Some("app"), None));
    assert_ne!(clone["net0"], source["net0"]);
    assert_ne!(clone["smbios1"], source["smbios1"]);
    assert_eq!(fake.control().snapshot().volumes_of(200).len(), 1);
}

#[test]
fn a_running_machines_cores_wait_for_a_stop_and_a_start() {
    let (fake, client) = start();
    fake.control().create_guest(200, Kind::Qemu, "vm").unwrap();
    let post = |what: &str| {
        client.call("POST", &format!("/nodes/pve1/qemu/200/status/{what}"), "").data();
        idle(&fake);
    };
    post("start");
    client.call("PUT", "/nodes/pve1/qemu/200/config", "cores=4").data();
    let current = || client.call("GET", "/nodes/pve1/qemu/200/config?current=1", "").data();
    assert!(current().get("cores").is_none());
    assert_eq!(client.call("GET", "/nodes/pve1/qemu/200/config", "").data()["cores"], 4);
    post("stop");
    post("start");
    assert_eq!(current()["cores"], 4);
}

#[test]
fn a_download_needs_the_right_checksum_and_is_content_with_a_file_it_has() {
    let (fake, client) = start();
    let url = "https://images.test/alpine.tar.xz";
    let checksums = [("sha256".to_owned(), "ab".repeat(32))].into();
    fake.control().add_download(url, Download { size: 1 << 20, checksums });
    let get = |sum: &str| {
        let body = format!(
            "url={url}&content=vztmpl&filename=alpine.tar.xz&checksum-algorithm=sha256&checksum={sum}"
        );
        client.call("POST", "/nodes/pve1/storage/local/download-url", &body).data();
        idle(&fake);
        last_exit(&fake)
    };
    assert!(get(&"cd".repeat(32)).starts_with("checksum mismatch"));
    assert_eq!(get(&"ab".repeat(32)), "OK");
    assert_eq!(get(&"ab".repeat(32)), "OK");
    assert!(get(&"cd".repeat(32)).contains("another checksum"));
}

#[test]
fn resources_lag_behind_and_lists_do_not() {
    let fake =
        FakePve::start(Options { broadcast_period: Duration::from_secs(600), ..Options::default() }).unwrap();
    let client = Client::new(&fake);
    client.call("GET", "/cluster/resources", "").data();
    fake.control().create_guest(107, Kind::Lxc, "young").unwrap();
    let find = || {
        let all = client.call("GET", "/cluster/resources?type=vm", "").data();
        all.as_array().unwrap().iter().find(|g| g["vmid"] == 107).unwrap().clone()
    };
    assert_eq!((find()["status"].as_str(), find().get("name")), (Some("unknown"), None));
    assert_eq!(client.call("GET", LXC, "").data()[0]["name"], "young");
    fake.control().broadcast();
    assert_eq!(find()["name"], "young");
}

#[test]
fn state_outlives_a_restart_and_running_tasks_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options {
        dir: Some(dir.path().to_owned()),
        task_time: Duration::from_secs(60),
        ..Options::default()
    };
    let fake = FakePve::start(options()).unwrap();
    let token = fake.token().to_owned();
    fake.control().create_guest(107, Kind::Lxc, "kept").unwrap();
    Client::new(&fake).call("POST", "/nodes/pve1/lxc/107/status/start", "").data();
    fake.shutdown();
    let fake = FakePve::start(options()).unwrap();
    assert_eq!(fake.token(), token);
    assert_eq!(Client::new(&fake).call("GET", LXC, "").data()[0]["name"], "kept");
    assert_eq!(last_exit(&fake), "unexpected status");
}

#[test]
fn a_restore_without_unique_keeps_the_backups_macs_unless_told() {
    let (fake, client) = with_container(107);
    fake.control().add_storage("bk", "dir", "backup", 100);
    client.call("POST", "/nodes/pve1/vzdump", "vmid=107&storage=bk&mode=stop").data();
    idle(&fake);
    let list = client.call("GET", "/nodes/pve1/storage/bk/content?content=backup", "").data();
    let volid = list[0]["volid"].as_str().unwrap().to_owned();
    let restore = |vmid: u32, more: &str| {
        let body = format!("vmid={vmid}&ostemplate={volid}&restore=1&storage=local-lvm{more}");
        client.call("POST", LXC, &body).data();
        idle(&fake);
        client.call("GET", &format!("/nodes/pve1/lxc/{vmid}/config"), "").data()["net0"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let original = client.call("GET", "/nodes/pve1/lxc/107/config", "").data()["net0"].clone();
    assert_eq!(restore(201, ""), original.as_str().unwrap());
    assert_ne!(restore(202, "&unique=1"), original.as_str().unwrap());
    let isolated = "&net0=name%3Deth0%2Cbridge%3Dvmbr0%2Clink_down%3D1";
    assert!(restore(203, isolated).contains("link_down=1"));
    assert!(
        !restore(204, &format!("&unique=1{isolated}")).contains("link_down=1"),
        "unique discards a passed device"
    );
}

#[test]
fn latency_queues_behind_few_workers() {
    let fake =
        FakePve::start(Options { latency: Duration::from_millis(60), workers: 1, ..Options::default() })
            .unwrap();
    let client = Client::new(&fake);
    let since = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| client.call("GET", "/version", "").data());
        }
    });
    assert!(since.elapsed() >= Duration::from_millis(180));
}
