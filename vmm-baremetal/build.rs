//! Links the hypervisor with its own script; the library and its tests are left as they are.

fn main() {
    println!("cargo::rerun-if-changed=link.ld");
    if std::env::var_os("CARGO_FEATURE_BARE").is_none() {
        return;
    }
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let script = format!("-Wl,-T{folder}/link.ld");
    for argument in [
        "-nostartfiles",
        "-nostdlib",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,max-page-size=4096",
        "-Wl,-z,noexecstack",
        script.as_str(),
    ] {
        println!("cargo::rustc-link-arg-bins={argument}");
    }
}
