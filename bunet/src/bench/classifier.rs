//! `bunet bench resnet50` and `squeezenet`: classifiers with random weights, both parties as threads over TLS.

use super::link;
use clap::Args;
use cli::{Failure, Kind, PlanFlags};
use models::quantise::QuantiseOptions;
use models::record::Agreement;
use models::unet::random_image;
use models::zoo::Classifier;
use protocol::Plan;
use protocol::backend::run_over;
use std::path::PathBuf;

/// Flags of the classifiers.
#[derive(Args, Clone, Debug)]
pub(crate) struct Flags {
    /// Pixels along each axis of the image
    #[arg(long, value_name = "N", default_value_t = 224, value_parser = clap::value_parser!(u16).range(33..=512))]
    size: u16,
    /// Where weights and image come from
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Strategies.
    #[command(flatten)]
    plan: PlanFlags,
    /// Slow both parties down to a named network (see `bunet plan --help`)
    #[arg(long, value_name = "NAME", default_value = "loopback", value_parser = cli::profile)]
    profile: net::Profile,
    /// Write a record of the run
    #[arg(long, value_name = "FILE.json")]
    json: Option<PathBuf>,
}

const BITS: u32 = 24;

pub(crate) fn classifier(classifier: Classifier, flags: &Flags) -> Result<(), Failure> {
    let config = flags.plan.config()?;
    let size = usize::from(flags.size);
    let options = QuantiseOptions { share_bits: config.bits.unwrap_or(BITS), ..QuantiseOptions::default() };
    let unfit = |error: models::quantise::QuantiseError| Failure::new(Kind::Plan, error);
    let (model, _) = classifier.build_quantised(size, flags.seed, &options).map_err(unfit)?;
    let image = random_image(classifier.input(size), flags.seed ^ 1);
    let plan = Plan::derive(&model.manifest, &config)?;
    let input = model.manifest.quantise_input(&image);
    models::reference::run_checked(&model, &input).map_err(|error| Failure::new(Kind::Plan, error))?;
    let ends = link::pair(&flags.profile)?;
    let (mut audited, cpu) = run_over(ends, &plan, &model, &input)?;
    let different = imaging::different(audited.labels.view(), audited.expected.view());
    let record = &mut audited.record;
    record.command = "bunet bench".into();
    record.profile = flags.profile.name.into();
    record.agreement = Some(Agreement { total: 1, different });
    println!("{classifier}, 3×{size}×{size}, preset {}: two threads over TLS 1.3\n", config.preset.name());
    println!("{}", cli::layer_table(record));
    println!("{}", cli::phase_lines(record));
    let phases = [&record.phases.setup, &record.phases.offline, &record.phases.online];
    let bytes: u64 = phases.iter().map(|phase| phase.bytes_alice_to_bob + phase.bytes_bob_to_alice).sum();
    println!("{cpu:.1} CPU seconds of both parties, {} both ways", cli::bytes(bytes));
    if let Some(path) = &flags.json {
        cli::write_json(path, record)?;
    }
    if different > 0 {
        return Err(Failure::new(
            Kind::Internal,
            format!("the label differs from the integer reference's ({different})"),
        ));
    }
    Ok(())
}
