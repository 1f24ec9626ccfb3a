//! Runs a U-Net with random weights, both parties in one process, and prints what every layer cost.
//!
//! `cargo run --release -p protocol --example network -- 2 1,128,128 16,32,64 relu avg 24 gc`
#![allow(clippy::unwrap_used, reason = "an example for developers")]

use models::graph::Shape;
use models::quantise::QuantiseOptions;
use models::unet::{Pooling, UNet, activations, random_image};
use protocol::backend::run_both;
use protocol::{Config, Plan, Preset};
use std::time::Instant;

fn numbers(text: &str) -> Vec<usize> {
    text.split(',').map(|x| x.parse().unwrap()).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let defaults = ["2", "1,128,128", "16,32,64", "relu", "avg", "24", "gc"];
    let arg = |i: usize| args.get(i).map_or(defaults[i], String::as_str);
    let dims = numbers(arg(1));
    let channels = numbers(arg(2));
    let unet = UNet {
        rank: arg(0).parse().unwrap(),
        input: Shape { channels: 1, dims: [dims[0], dims[1], dims[2]] },
        activations: activations(arg(3), channels.len()).unwrap(),
        channels,
        pooling: if arg(4) == "max" { Pooling::Max } else { Pooling::Avg },
        labels: 2,
        seed: 1,
    };
    let options = QuantiseOptions { share_bits: arg(5).parse().unwrap(), ..QuantiseOptions::default() };
    let (model, _) = unet.build_quantised(&options).unwrap();
    let input = model.manifest.quantise_input(&random_image(unet.input, 5));
    let preset = Preset::ALL.into_iter().find(|preset| preset.name() == arg(6)).unwrap();
    let plan = Plan::derive(&model.manifest, &Config { preset, ..Config::default() }).unwrap();
    let start = Instant::now();
    let (labels, record, expected) = run_both(&plan, &model, &input).unwrap();
    let different = labels.iter().zip(&expected).filter(|(a, b)| a != b).count();
    for layer in &record.layers {
        let megabytes = |bytes: u64| bytes as f64 / 1e6;
        println!(
            "{:<28} {:<16} {:<12} {:>8.3} s {:>9.3} MB up {:>9.3} MB down {:>3} rounds",
            layer.name,
            layer.kind,
            layer.strategy,
            layer.seconds,
            megabytes(layer.bytes_alice_to_bob),
            megabytes(layer.bytes_bob_to_alice),
            layer.rounds
        );
    }
    println!("{:#?}\n{:?}", record.phases, record.parameters);
    println!(
        "{:.2} s wall with the reference, {:.2} CPU s in all, {different} of {} labels differ",
        start.elapsed().as_secs_f64(),
        protocol::clock::cpu_seconds().unwrap_or(f64::NAN),
        labels.len()
    );
}
