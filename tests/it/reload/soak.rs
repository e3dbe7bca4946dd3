//! The long form of `load`, run by `scripts/reload-soak.sh` in release mode.

use std::time::Instant;

use framex_tests::Build;

use super::check_mapped;
use super::load::Pair;

const RELOADS: u64 = 1000;
const RESIDENT_BYTES_MAX: usize = 10 << 20;

#[test]
#[ignore = "compares latencies, so it wants the machine to itself: run scripts/reload-soak.sh"]
fn a_thousand_reloads_under_load() {
    let builds = [Build::new(1), Build::new(2)];
    let pair = Pair::start("");
    let mut generation = 1;
    let mut reload = |times: u64| {
        for _ in 0..times {
            generation += 1;
            pair.change_to(builds[(generation as usize + 1) % 2], generation);
        }
    };
    let warm = pair.load();
    warm.pass(2000);
    reload(20);
    let mut failed = warm.stop().failed;
    let (resident, descriptors) = (pair.host.resident_bytes(), pair.host.descriptors());

    let load = pair.load();
    let begun = Instant::now();
    reload(RELOADS);
    let took = begun.elapsed();
    let mut with = load.stop();
    let grown = pair.host.resident_bytes().saturating_sub(resident);

    let load = pair.load();
    load.pass(with.calls() as u64 / 2);
    let mut without = load.stop();
    failed.append(&mut with.failed);
    failed.append(&mut without.failed);

    let (p99_with, p99_without) = (with.percentile(0.99), without.percentile(0.99));
    let ratio = p99_with.as_secs_f64() / p99_without.as_secs_f64();
    let zombies = pair.host.plugin_status("changing")["zombies"].as_array().map_or(0, Vec::len);
    println!("reloads                        {RELOADS} in {:.1} s", took.as_secs_f64());
    println!("calls with, without reloads    {}, {}", with.calls(), without.calls());
    println!("failed calls                   {}", failed.len());
    println!("p50 with, without reloads      {:?}, {:?}", with.percentile(0.5), without.percentile(0.5));
    println!("p99 with, without reloads      {p99_with:?}, {p99_without:?}: {ratio:.2} times");
    println!("resident bytes more            {grown}");
    println!("retired generations mapped     {}", pair.host.mapped_copies().len() - 2);
    println!("zombies                        {zombies}");
    assert!(failed.is_empty(), "{:?}", failed.first());
    assert_eq!(with.builds.len(), 2, "{:?}", with.builds);
    check_mapped(&pair.host, 2);
    assert_eq!(zombies, 0);
    assert!(grown < RESIDENT_BYTES_MAX, "{grown} bytes more are resident");
    assert_eq!(pair.host.descriptors(), descriptors);
    assert!(ratio < 3.0, "the p99 is {ratio:.2} times as high with reloads");
}
