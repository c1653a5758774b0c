//! Man pages and shell completions of the three programs, from their command lines.
//!
//! An example and not a part of the programs: they do not grow by it, and `cargo xtask` does not compile them all before
//! it can do anything. Writes `man/*.{1,8}` and `completions/{bash,zsh,fish}/*` into the folder that it is given.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> io::Result<()> {
    let folder = std::env::args_os().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| io::Error::other("usage: pages FOLDER"))?;
    for (command, section) in [
        (felhom_agent::cli::Cli::command(), "8"),
        (felhom_hub::cli::Cli::command(), "8"),
        (felhom_sign::cli::Cli::command(), "1"),
    ] {
        completions(command.clone(), &folder.join("completions"))?;
        let man = folder.join("man");
        fs::create_dir_all(&man)?;
        let name = command.get_name().to_owned();
        let command = without_its_name(command);
        pages(command.disable_help_subcommand(true), (&name, section), &man)?;
    }
    Ok(())
}

/// A page for a command and for each command below it.
fn pages(mut command: Command, (name, section): (&str, &str), folder: &Path) -> io::Result<()> {
    command.build();
    let below: Vec<Command> =
        command.get_subcommands().filter(|below| below.get_name() != "help").cloned().collect();
    for below in below {
        let name = format!("{name}-{}", below.get_name());
        pages(below, (&name, section), folder)?;
    }
    // roff wants a name for life; the handful of pages live as long as this program.
    let title: &'static str = Box::leak(name.to_owned().into_boxed_str());
    let mut page = Vec::new();
    Man::new(command.name(title)).title(title).section(section).manual("felhom").render(&mut page)?;
    fs::write(folder.join(format!("{name}.{section}")), page)
}

/// A page gives the name before what the program is for; `--help` says both at once.
fn without_its_name(command: Command) -> Command {
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let said = format!("{}: ", command.get_name());
    match about.strip_prefix(&said) {
        Some(rest) => command.about(rest.to_owned()),
        None => command,
    }
}

fn completions(mut command: Command, folder: &Path) -> io::Result<()> {
    let name = command.get_name().to_owned();
    for (shell, kind, file) in [
        (Shell::Bash, "bash", name.clone()),
        (Shell::Zsh, "zsh", format!("_{name}")),
        (Shell::Fish, "fish", format!("{name}.fish")),
    ] {
        let folder = folder.join(kind);
        fs::create_dir_all(&folder)?;
        clap_complete::generate(shell, &mut command, name.clone(), &mut fs::File::create(folder.join(file))?);
    }
    Ok(())
}
