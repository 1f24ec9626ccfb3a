//! Segments one image with three servers in one process and prints what every layer cost.
//!
//! `cargo run --release -p threeparty --example segment -- [bundle folder [picture]]`: the middle of a grey picture, or a
//! random image of the model's shape; without a bundle, a U-Net 16-32-64 with random weights on 1×128×128.

use models::backend::Backend;
use models::quantise::QuantiseOptions;
use models::unet::{Activation, Pooling, UNet, random_image};
use models::{Model, Shape, bundle, reference};
use ndarray::Array4;
use std::path::Path;
use std::time::Instant;
use threeparty::backend::ThreeParty;
use threeparty::machine::{cpu_seconds, peak_memory};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = match std::env::args().nth(1) {
        Some(folder) => bundle::load(Path::new(&folder))?,
        None => random_unet()?,
    };
    let shape = model.manifest.graph.node(0).shape;
    let image = match std::env::args().nth(2) {
        Some(file) => grey(&image::open(file)?.to_luma8(), shape)?,
        None => random_image(shape, 7),
    };
    let image = model.manifest.quantise_input(&image);
    if let Err(error) = reference::run_checked(&model, &image) {
        println!("beware: {error}");
    }
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let record = ThreeParty.run(&model, &image)?.record;
    let cpu = cpu_seconds().zip(cpu).map(|(after, before)| after - before);
    println!("{:<24} {:>16} {:>10} {:>8} {:>7}", "layer", "kind", "MB", "seconds", "rounds");
    for layer in &record.layers {
        let mb = layer.bytes_alice_to_bob as f64 / 1e6;
        println!(
            "{:<24} {:>16} {mb:>10.3} {:>8.3} {:>7}",
            layer.name, layer.kind, layer.seconds, layer.rounds
        );
    }
    let online = record.phases.online;
    println!(
        "shares modulo {}: {:.1} MB among servers, {} rounds, {:.2} s; with the reference {:.2} s wall, {cpu:.2?} CPU s",
        record.parameters.moduli.join(", "),
        online.bytes_alice_to_bob as f64 / 1e6,
        online.rounds,
        online.seconds,
        start.elapsed().as_secs_f64(),
    );
    println!("against the integer reference: {:?}; peak memory {:?} bytes", record.agreement, peak_memory());
    Ok(())
}

/// The middle of a picture, grey values from 0 to 1.
fn grey(picture: &image::GrayImage, shape: Shape) -> Result<Array4<f32>, &'static str> {
    let [_, height, width] = shape.dims.map(|extent| extent as u32);
    let (Some(left), Some(top)) = (picture.width().checked_sub(width), picture.height().checked_sub(height))
    else {
        return Err("the picture is smaller than what the network reads");
    };
    let pixel = |(_, _, y, x): (usize, usize, usize, usize)| {
        picture.get_pixel(left / 2 + x as u32, top / 2 + y as u32)
    };
    let [depth, height, width] = shape.dims;
    Ok(Array4::from_shape_fn((shape.channels, depth, height, width), |at| f32::from(pixel(at).0[0]) / 255.0))
}

fn random_unet() -> Result<Model, Box<dyn std::error::Error>> {
    let unet = UNet {
        rank: 2,
        input: Shape { channels: 1, dims: [1, 128, 128] },
        channels: vec![16, 32, 64],
        pooling: Pooling::Avg,
        activations: vec![Activation::Relu; 5],
        labels: 2,
        seed: 1,
    };
    Ok(unet.build_quantised(&QuantiseOptions::default())?.0)
}
