//! Lets this package's own binaries and tests find libtorch where they run.

use std::path::PathBuf;

fn main() {
    println!("cargo:rerun-if-env-changed=LIBTORCH");
    let libraries = std::env::var_os("LIBTORCH").map(|root| PathBuf::from(root).join("lib"));
    match libraries {
        Some(path) if path.is_dir() => {
            println!("cargo:rustc-link-arg=-Wl,-rpath,{}", path.display());
        }
        _ => {
            eprintln!("libtorch not found: run cargo xtask setup");
            std::process::exit(1);
        }
    }
}
