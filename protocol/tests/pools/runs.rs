//! Runs from a pool compute and cost what live runs do, less what was made beforehand.

use crate::{expected, make, network, quick, segment, store, with_bob};
use protocol::cost::Flow;
use protocol::engine::Measure;
use protocol::report::Side;
use protocol::{Config, Plan, Preset};

fn flow(measure: &Measure) -> Flow {
    let traffic = &measure.traffic;
    Flow { alice_to_bob: traffic.sent, bob_to_alice: traffic.received, rounds: traffic.rounds }
}

#[test]
fn runs_from_a_pool_equal_live_ones_at_the_declared_cost() {
    let (model, input) = network();
    let preset = |preset| Config { preset, ..Config::default() };
    for config in [preset(Preset::Fast), quick(), preset(Preset::Gc), preset(Preset::Bunet)] {
        let folder = tempfile::tempdir().unwrap();
        let [alice, bob] = [Side::Alice, Side::Bob].map(|side| store(folder.path(), side));
        let plan = Plan::derive(&model.manifest, &config).unwrap();
        let (made, stored, _) =
            with_bob(&model, Some(&bob), |channel| make(channel, &plan, &alice, 2).map(drop));
        made.unwrap();
        let offline = plan.setup_cost() + plan.cost().offline;
        for made in stored.unwrap() {
            assert_eq!(made.made, 1);
            let (setup, offline_part) = (made.setup.traffic, made.offline.traffic);
            assert_eq!(setup.received + offline_part.received, offline.alice_to_bob);
            assert_eq!(setup.sent + offline_part.sent, offline.bob_to_alice);
        }
        for number in [Some(0), Some(1), None] {
            let run = |channel| segment(channel, &plan, &alice, &input, |_| {});
            let (done, served, bobs) = with_bob(&model, Some(&bob), run);
            let (done, served) = (done.unwrap(), served.unwrap());
            assert_eq!(done.item, number);
            assert_eq!(done.labels, expected(&plan, &model, &input, &done.shares, &bobs), "{config:?}");
            let (measured, pooled) = (&done.measurements, number.is_some());
            assert_eq!((measured.runs, measured.from_pool), (1, u64::from(pooled)));
            assert_eq!(served[0].from_pool, u64::from(pooled));
            assert_eq!(flow(&measured.online), plan.cost().online);
            let before = if pooled { Flow::default() } else { plan.cost().offline };
            assert_eq!(flow(&measured.offline), before);
            let setup = if pooled { plan.pooled_setup_cost() } else { plan.setup_cost() };
            assert_eq!(flow(&measured.setup), setup);
            assert!(!pooled || measured.setup.seconds > 0.0 && measured.prepared.cpu_seconds > 0.0);
            let prepared = Flow { rounds: 0, ..if pooled { offline } else { Flow::default() } };
            assert_eq!(flow(&measured.prepared), prepared);
        }
        assert!(files(&alice, &plan).is_empty() && files(&bob, &plan).is_empty(), "used items are gone");
    }
}

fn files(store: &protocol::store::Store, plan: &Plan) -> Vec<u64> {
    store.open(plan).unwrap().unwrap().items().unwrap()
}
