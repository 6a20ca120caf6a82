//! Generates the Rust types and services, and the descriptor set that gRPC
//! reflection serves.

use std::path::PathBuf;
use std::{env, error::Error, fs};

use prost::Message as _;

fn main() -> Result<(), Box<dyn Error>> {
    let files = [
        "common",
        "cluster",
        "checkpoints",
        "coordinators",
        "operator",
        "publishing",
    ]
    .map(|name| format!("peregrine/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=peregrine");
    let descriptors = protox::compile(files, ["."])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".")
        .compile_fds(descriptors)?;
    Ok(())
}
