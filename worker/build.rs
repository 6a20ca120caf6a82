//! Lets the worker find libtorch at run time without LD_LIBRARY_PATH.

use std::env;

fn main() {
    // Beside the binary first, as an image ships it; then where it was built.
    let mut places = vec!["$ORIGIN/../lib/libtorch".to_owned()];
    places.extend(env::var("DEP_C10D_LIB_DIR"));
    places.extend(env::var("DEP_C10D_CUDA_LIB_DIR"));
    for place in places {
        println!("cargo:rustc-link-arg=-Wl,-rpath,{place}");
    }
}
