//! Every kernel against what the machine can do, on one core: criterion's figures, and one closing table.
//!
//! `cargo bench -p benches --bench kernels [-- FILTER]` measures itself once for each set of instructions that the
//! machine has, as a process of its own in which kernels may use no more (`BUNET_ISA`). Time is CPU time of the
//! process, so that others may use the machine too. Each kernel has a bound that is measured in the same process:
//! multiply-adds from registers, reading memory, bare AES, bare transforms. The table gives medians, and how many times
//! its bound the least of a kernel's samples is, since bounds are the least of several samples as well. AES and transforms
//! come from packages that choose their own instructions, whatever the level.
#![expect(clippy::unwrap_used, reason = "benchmarks are no interface and may fail loudly")]

mod bounds;
mod garbling;
mod lattice;
mod operators;
mod products;
mod suite;
mod table;
mod transfers;

use prg::cpu::Level;
use std::process::Command;
use suite::{Row, Suite};

/// Where a process that measures one level leaves its rows.
const ROWS: &str = "BUNET_KERNELS";

/// Levels by the name that `BUNET_ISA` has for them, fastest first.
const LEVELS: [(&str, Level); 3] =
    [("avx512", Level::Avx512), ("avx2", Level::Avx2), ("portable", Level::Portable)];

fn measure() -> Vec<Row> {
    let mut suite = Suite::default();
    // Anew each time: a busy machine is not always equally busy.
    let bounds = || {
        let bounds = bounds::Bounds::measure();
        println!("{bounds}");
        bounds
    };
    products::all(&mut suite, &bounds());
    lattice::all(&mut suite, &bounds());
    garbling::all(&mut suite, &bounds());
    let transfer = transfers::all(&mut suite, &bounds());
    operators::all(&mut suite, &bounds(), transfer);
    suite.finish()
}

/// Whether kernels differ between this level and the next lower one.
fn exists(level: Level) -> bool {
    let lattices = ntt::simd::Isa::available().len();
    match level {
        Level::Portable => true,
        Level::Avx2 => lattices > 1,
        Level::Avx512 => lattices > 2 && gc::Isa::available().len() > 2,
    }
}

fn main() {
    if let Ok(path) = std::env::var(ROWS) {
        std::fs::write(path, serde_json::to_vec(&measure()).unwrap()).unwrap();
        return;
    }
    let folder = std::env::temp_dir().join(format!("bunet-kernels-{}", std::process::id()));
    std::fs::create_dir(&folder).unwrap();
    let mut found = Vec::new();
    for (name, _) in LEVELS.into_iter().filter(|(_, level)| exists(*level)) {
        println!("── instructions up to {name}");
        let path = folder.join(name);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(std::env::args_os().skip(1)).env(ROWS, &path);
        command.env("BUNET_ISA", name).env("RAYON_NUM_THREADS", "1");
        assert!(command.status().unwrap().success(), "the measurement of {name} failed");
        let rows: Vec<Row> = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        found.push((name, rows));
    }
    std::fs::remove_dir_all(&folder).unwrap();
    print!("\n{}", table::of(&found).render());
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("kernels.md");
    std::fs::write(&path, table::of(&found).markdown()).unwrap();
    println!("\nthe same in Markdown: {}", path.display());
}
