//! Variables of the environment, which plugins change while others read them.

use framex_tests::Daemon;
use serde_json::{Value, json};

use super::{host, unload};

#[test]
fn variables_are_set_and_read_at_the_same_time() {
    let host = host(&[]).plugin("hooks").start();
    let reads = |host: &Daemon| {
        let read = host.call("native.reads_variables", &json!({}));
        assert_eq!((read.status, read.json()), (200, json!("read")), "{}", host.log());
        let read = host.call("hooks.functions.reads_variables", &json!({}));
        assert_eq!(read.status, 200, "{}", host.log());
    };
    let sets = |host: &Daemon, first: u32| {
        let set = host.call("native.sets_variables", &json!({}));
        assert_eq!((set.status, set.json()), (200, json!("set")), "{}", host.log());
        let set = host.call("hooks.functions.sets_variables", &json!({ "first": first * 10_000 }));
        assert_eq!((set.status, set.json()), (200, json!("set")), "{}", host.log());
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..4).for_each(|_| reads(&host)));
        scope.spawn(|| (0..4).for_each(|_| reads(&host)));
        scope.spawn(|| (0..3).for_each(|round| sets(&host, round)));
    });
    // What it has put into the table is not in its library.
    unload(&host, "native");
    let read: Value = host.call("hooks.functions.reads_variables", &json!({})).json();
    assert!(read.as_u64() > Some(0), "{read}");
    host.stop();
}
