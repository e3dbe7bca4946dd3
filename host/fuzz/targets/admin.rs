//! Any request to the admin API, as bytes of a connection that the listener has accepted.
//!
//! The first line is method and target, the second one more header, the rest is the body; what starts with a NUL
//! goes to the connection as it is.
#![no_main]

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use framex_host::api::ReloadView;
use framex_host::base::{Clock, Identity, Tasks};
use framex_host::config::{Config, Environment, Fallback, Overrides};
use framex_host::functions::{Handler, Table};
use framex_host::http::admin::{Admin, HostRefusal, ReloadHost, serve_stream};
use framex_host::http::{BodyMemory, ConfigFiles, Documents, Ending, InForce, Policy, Sealing, Service};
use framex_host::plugins::{Plugins, Services};
use framex_host::router::{PeerSet, Router, Routes};
use framex_host::wire::{self, Compression, KeyRing, KeySet, ReplayGuard};
use libfuzzer_sys::fuzz_target;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;

/// A host that has nothing to reload.
struct Nothing;

impl ReloadHost for Nothing {
    fn reload<'a>(
        &'a self,
        _allow_breaking: bool,
    ) -> Pin<Box<dyn Future<Output = Result<ReloadView, HostRefusal>> + Send + 'a>> {
        let (plugins, unchanged) = (Vec::new(), Vec::new());
        Box::pin(async {
            Ok(ReloadView { plugins, unchanged, restart_required: Vec::new(), warnings: Vec::new() })
        })
    }
}

/// The public listener, for what it counts.
fn service(config: &Config, router: &Arc<Router>, plugins: &Arc<Plugins>) -> Arc<Service> {
    let (second, bytes_max) = (Duration::from_secs(1), 1 << 20);
    let keys = KeySet::derive(&wire::generate_secret()).expect("a generated key is good");
    let policy = Policy {
        access: config.access(),
        sealing: Sealing {
            ring: KeyRing::new(vec![Arc::new(keys)]).expect("one key is enough"),
            callers: HashMap::new(),
            require_receiver: false,
            compression: Compression::Never,
        },
        admission: Arc::default(),
        server: config.server.clone(),
        frames: wire::Limits::of_size(bytes_max),
    };
    Arc::new(Service {
        router: Arc::clone(router),
        plugins: Arc::clone(plugins),
        replays: ReplayGuard::new(second, 16, 0),
        policy: ArcSwap::from_pointee(policy),
        clock: Clock::start(),
        meters: Arc::default(),
        body_memory: BodyMemory::new(bytes_max),
        documents: Documents::default(),
        ending: Ending::default(),
        in_force: InForce::new(ConfigFiles::default()),
    })
}

fn host() -> &'static (Runtime, Admin) {
    static HOST: OnceLock<(Runtime, Admin)> = OnceLock::new();
    HOST.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let scratch = std::env::temp_dir().join(format!("framex-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(&scratch).expect("a scratch folder");
        let path = PathBuf::from("/nonexistent/config.toml");
        let config = Config::from_text("", &path, &Environment::default(), &Overrides::default());
        let mut config = config.expect("an empty config is good");
        config.plugin_dir = scratch.join("plugins");
        let table = Arc::new(Table::default());
        let routes = Routes {
            configured: HashMap::new(),
            all: PeerSet::default(),
            fallback: Fallback::None,
            wait: Duration::ZERO,
        };
        let router =
            Router::new(Arc::new(Identity::new(Arc::clone(&config.host_id))), Arc::clone(&table), routes);
        let dispatch: Arc<dyn Handler> = Arc::<Router>::clone(&router);
        let services = Arc::new(Services::new(
            Arc::clone(&config.host_id),
            runtime.handle().clone(),
            Duration::from_secs(1),
            &dispatch,
        ));
        let plugins = Plugins::open(services, table, &scratch, Arc::new(config.clone()))
            .expect("the scratch folder takes files");
        let plugins = Arc::new(plugins);
        let service = service(&config, &router, &plugins);
        let admin = Admin {
            service,
            host: Arc::new(Nothing),
            config_file: Path::new("config.toml").into(),
            workers: runtime.handle().clone(),
            changes: Tasks::default(),
        };
        (runtime, admin)
    })
}

/// The bytes of the request.
fn request(data: &[u8]) -> Vec<u8> {
    if let Some(raw) = data.strip_prefix(b"\0") {
        return raw.to_vec();
    }
    let mut parts = data.splitn(3, |byte| *byte == b'\n');
    let mut next = || parts.next().unwrap_or_default();
    let (line, header, body) = (next(), next(), next());
    let mut request = [line, b" HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"].concat();
    if !header.is_empty() {
        request.extend([header, b"\r\n"].concat());
    }
    request
        .extend(format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len()).bytes());
    request.extend(body);
    request
}

fuzz_target!(|data: &[u8]| {
    let (runtime, admin) = host();
    let request = request(data);
    runtime.block_on(async {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let tasks = Tasks::default();
        let serving = tasks.spawn_on(runtime.handle(), serve_stream(admin.clone(), far, tasks.clone()));
        // The server may have closed already.
        let _sent = near.write_all(&request).await;
        let _shut = near.shutdown().await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(4), near.read_to_end(&mut answer)).await;
        read.expect("the server answers or closes in time").expect("memory is read");
        serving.await.expect("the server does not panic");
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{answer:?}");
        assert!(!answer.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&answer));
    });
});
