//! What root on a system with apt-get gets without being asked.

use std::{path::Path, process::Command};

/// Whether this is root, apt-get is there, and it has installed the packages.
pub(crate) fn install(packages: &[&str]) -> bool {
    if !is_root() || !Path::new("/usr/bin/apt-get").is_file() {
        return false;
    }
    let apt = |args: &[&str], packages: &[&str]| {
        eprintln!("\n$ apt-get {} {}", args.join(" "), packages.join(" "));
        let mut command = Command::new("apt-get");
        command.args(args).args(packages);
        command.env("DEBIAN_FRONTEND", "noninteractive");
        command.status().is_ok_and(|status| status.success())
    };
    // Fresh machines often run an apt-get of their own: wait for it.
    let patient = "DPkg::Lock::Timeout=120";
    let install = ["install", "-o", patient, "-y", "--no-install-recommends"];
    // A fresh image knows no packages before an update.
    apt(&install, packages) || (apt(&["update"], &[]) && apt(&install, packages))
}

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
