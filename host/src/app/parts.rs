//! The running parts of a host that a config is applied to.

use std::sync::Arc;

use tokio::sync::watch;

use super::active::ActiveConfig;
use super::watched_paths::WatchedPaths;
use crate::base::ConcurrencyLimit;
use crate::http::admin::AdminToken;
use crate::http::{Policy, Service, Tls};

/// The running parts.
pub(super) struct Parts {
    pub(super) service: Arc<Service>,
    /// The token of the admin API over TCP, if it is served.
    pub(super) admin_token: Option<AdminToken>,
    /// The certificate of the public listener, if it speaks TLS.
    pub(super) tls: Option<Tls>,
    pub(super) watched: watch::Sender<WatchedPaths>,
}

impl Parts {
    /// Brings a config into force, and replaces the one before, if there is one.
    pub(super) fn apply(&self, next: &mut ActiveConfig, policy: Arc<Policy>, before: Option<&ActiveConfig>) {
        next.take_over(before);
        let (config, Service { router, plugins, .. }) = (&next.config, &*self.service);
        router.set_routes(next.routes());
        router.outcomes().set_bounds(next.repeats());
        router.set_answer_bytes_max(config.server.answer_bytes_max);
        router.table().set_limits(config.limits.clone(), config.server.in_flight_per_function_max);
        let (in_flight_max, queue_max) = (config.server.in_flight_max, config.server.queue_max);
        policy.admission.set(Some(ConcurrencyLimit { in_flight_max, queue_max }));
        self.service.policy.store(policy);
        plugins.services().set_call_timeout(config.server.call_timeout);
        plugins.services().set_layer_percent(config.server.layer_percent);
        // An unchanged certificate stays, and with it the sessions that clients can resume.
        if let (Some(tls), Some(now)) = (&self.tls, &config.server_tls)
            && before.is_some_and(|before| before.config.server_tls.as_ref() != Some(now))
        {
            tls.replace(now);
        }
        if let (Some(token), Some(tcp)) = (&self.admin_token, &config.admin_tcp) {
            token.store(Arc::new(tcp.token.clone()));
        }
        let watched = WatchedPaths::of(config);
        // Sent only if it differs: changes while a watcher is replaced would be lost.
        self.watched.send_if_modified(|now| {
            let differs = *now != watched;
            *now = watched;
            differs
        });
        next.start_peers();
    }
}
