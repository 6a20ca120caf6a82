//! Compiles `csrc/` and links it with libtorch.
//!
//! Environment:
//! - `LIBTORCH`: the folder that holds libtorch's `include/` and `lib/`. Set by
//!   `.cargo/config.toml` to where `cargo xtask setup` puts it.
//! - `LIBTORCH_CXX11_ABI`: the ABI of libtorch's strings, `1` unless it says
//!   otherwise. The same variable steers torch-sys.
//! - `PEREGRINE_CUDA_INCLUDE`: with the feature `cuda`, the folders that hold
//!   the headers of CUDA's runtime, cccl, cuBLAS, cuSPARSE, cuSOLVER and NCCL,
//!   separated by colons. Without it, where Python's wheels have them beside
//!   libtorch: `cargo xtask setup --cuda` brings those.
//!
//! Dependents that are linked (binaries, tests) find libtorch's libraries
//! through `DEP_C10D_LIB_DIR`, which their own build script can put on the rpath:
//! link arguments do not travel from a library to what uses it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

const SOURCES: [&str; 9] = [
    "allocator.cpp",
    "collectives.cpp",
    "error.cpp",
    "gloo.cpp",
    "group.cpp",
    "monitor.cpp",
    "reducer.cpp",
    "store.cpp",
    "tensor_ops.cpp",
];

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            // One line: that is what cargo shows.
            println!("cargo::error={}", message.replace('\n', " "));
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    println!("cargo::rerun-if-changed=csrc");
    let cuda = env::var_os("CARGO_FEATURE_CUDA").is_some();
    let libtorch = libtorch()?;
    let include = libtorch.join("include");

    let mut compiler = cc::Build::new();
    compiler
        .cpp(true)
        .std("c++17")
        .opt_level(2)
        .define("_GLIBCXX_USE_CXX11_ABI", abi().as_str())
        .include("csrc")
        .files(SOURCES.iter().map(|name| Path::new("csrc").join(name)));
    // As system headers, so that warnings are about this crate's code only.
    for folder in [
        PathBuf::from("csrc/gloo-stubs"),
        include.clone(),
        include.join("torch/csrc/api/include"),
    ] {
        compiler.flag("-isystem").flag(folder);
    }
    if cuda {
        for folder in cuda_includes(&libtorch)? {
            compiler.flag("-isystem").flag(folder);
        }
        compiler.file("csrc/nccl.cpp");
    }
    compiler
        .try_compile("c10d_shim")
        .map_err(|error| format!("csrc/ does not compile: {error}"))?;

    let libraries = libtorch.join("lib");
    println!("cargo::rustc-link-search=native={}", libraries.display());
    let mut names = vec!["torch_cpu", "c10"];
    if cuda {
        names.extend(["torch_cuda", "c10_cuda"]);
    }
    for name in names {
        println!("cargo::rustc-link-lib=dylib={name}");
    }
    println!("cargo::metadata=lib_dir={}", libraries.display());
    // For this crate's own tests.
    println!("cargo::rustc-link-arg=-Wl,-rpath,{}", libraries.display());
    if cuda {
        // libtorch's headers call CUDA's runtime from inline functions. The
        // wheel has it under its versioned name only.
        let runtime = wheels(&libtorch).join("cu13/lib");
        println!("cargo::rustc-link-search=native={}", runtime.display());
        println!("cargo::rustc-link-lib=dylib:+verbatim=libcudart.so.13");
        println!("cargo::metadata=cuda_lib_dir={}", runtime.display());
        println!("cargo::rustc-link-arg=-Wl,-rpath,{}", runtime.display());
    }
    Ok(())
}

fn variable(name: &str) -> Option<String> {
    println!("cargo::rerun-if-env-changed={name}");
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn abi() -> String {
    variable("LIBTORCH_CXX11_ABI").unwrap_or_else(|| "1".to_owned())
}

fn libtorch() -> Result<PathBuf, String> {
    let folder = variable("LIBTORCH")
        .map(PathBuf::from)
        .ok_or("libtorch not found (LIBTORCH is not set): run cargo xtask setup")?;
    if folder
        .join("include/torch/csrc/distributed/c10d/reducer.hpp")
        .is_file()
    {
        Ok(folder)
    } else {
        Err(format!(
            "libtorch not found in {}: run cargo xtask setup",
            folder.display()
        ))
    }
}

/// Where Python's CUDA wheels are, beside the torch wheel.
fn wheels(libtorch: &Path) -> PathBuf {
    libtorch.with_file_name("nvidia")
}

fn cuda_includes(libtorch: &Path) -> Result<Vec<PathBuf>, String> {
    let folders: Vec<PathBuf> = match variable("PEREGRINE_CUDA_INCLUDE") {
        Some(value) => env::split_paths(&value).collect(),
        None => ["cu13/include", "cu13/include/cccl", "nccl/include"]
            .iter()
            .map(|folder| wheels(libtorch).join(folder))
            .collect(),
    };
    for header in [
        "cuda_runtime_api.h",
        "nccl.h",
        "cublas_v2.h",
        "cusparse.h",
        "cusolverDn.h",
    ] {
        if !folders.iter().any(|folder| folder.join(header).is_file()) {
            return Err(format!(
                "{header} was not found: run cargo xtask setup --cuda, or name the folders of \
                 CUDA's headers in PEREGRINE_CUDA_INCLUDE"
            ));
        }
    }
    Ok(folders)
}
