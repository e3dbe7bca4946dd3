//! The cost of a sealed call for the server, against a bare hyper echo in the same run, and a few figures of the daemon.
//!
//! Run it with `scripts/bench.sh`. Servers are processes of their own, so that their CPU time is theirs alone;
//! the rounds of them alternate, so that all meet the same machine. `BENCH_OTHER_HOST` names the daemon of another
//! build, beside its plugins, which then takes part: what a change costs is the ratio of the two.
#![expect(clippy::print_stdout, reason = "the figures are what it is for")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::{Bytes, BytesMut};
use framex_host::base::{Clock, FunctionName, Identity};
use framex_host::wire::{self, Compression, KeySet, Limits, RequestEnvelope};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

const CALLERS: usize = 16;
const ROUNDS: usize = 7;
const SECRET: &str = "fxk1_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";

fn main() -> Result<()> {
    if std::env::args().any(|argument| argument == "--echo-server") {
        return runtime()?.block_on(echo_server());
    }
    let scratch = tempfile::tempdir()?;
    let daemon = Daemon::start(&scratch.path().join("this"), &target_folder()?)?;
    let other = std::env::var_os("BENCH_OTHER_HOST").map(PathBuf::from);
    let other = other
        .as_deref()
        .and_then(Path::parent)
        .map(|folder| Daemon::start(&scratch.path().join("other"), folder));
    let other = other.transpose()?;
    println!("start to ready with 3 plugins: {:.1} ms", daemon.start_ms);
    println!("idle RSS with 3 plugins: {:.1} MB", daemon.server.rss_mb()?);
    runtime()?.block_on(async {
        inside(&daemon).await?;
        let echo = Server::spawn(Command::new(std::env::current_exe()?).arg("--echo-server"), "listening")?;
        println!("\nserver CPU, {CALLERS} callers, HTTP/1.1, median of {ROUNDS} rounds");
        let heads = if other.is_some() { "  other build us   this/other" } else { "" };
        println!("{:>8}  {:>12}  {:>12}  {:>6}{heads}", "body", "echo us", "sealed us", "ratio");
        for (bytes, calls) in [(64, 40_000), (1024, 40_000), (16 * 1024, 20_000)] {
            compare(&echo, &daemon, other.as_ref(), bytes, calls).await?;
        }
        Ok(())
    })
}

fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// A call inside the owning plugin, and one to another plugin of the host.
async fn inside(daemon: &Daemon) -> Result<()> {
    let mut connection = connect(&daemon.server.address).await?;
    let request = Request::post("/api/v1/functions/bench.calls.measure")
        .header("host", "localhost")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from_static(b"{\"count\": 200000}")))?;
    let body = connection.send_request(request).await?.into_body().collect().await?.to_bytes();
    let costs: Value = serde_json::from_slice(&body)?;
    let cost = |name: &str| costs[name].as_f64().with_context(|| format!("{costs} has no {name}"));
    let (plain, direct, cross) = (cost("plain")?, cost("direct")?, cost("cross")?);
    println!(
        "plain function: {plain:.1} ns; marked, inside its plugin: {direct:.1} ns (+{:.1} ns)",
        direct - plain
    );
    println!("to another plugin of the host, small struct, typed both ways: {cross:.0} ns");
    Ok(())
}

async fn compare(
    echo: &Server,
    daemon: &Daemon,
    other: Option<&Daemon>,
    bytes: usize,
    calls: usize,
) -> Result<()> {
    let (mut plain, mut sealed, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plain.push(echo.cpu_per_call(calls, bytes, Kind::Echo).await?);
        sealed.push(daemon.server.cpu_per_call(calls, bytes, Kind::Sealed).await?);
        if let Some(other) = other {
            others.push(other.server.cpu_per_call(calls, bytes, Kind::Sealed).await?);
        }
    }
    let (plain, sealed) = (median(plain), median(sealed));
    print!("{bytes:>8}  {plain:>12.2}  {sealed:>12.2}  {:>5.2}x", sealed / plain);
    if other.is_some() {
        let other = median(others);
        print!("  {other:>14.2}  {:>10.3}x", sealed / other);
    }
    println!();
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Echo,
    Sealed,
}

/// A server process; killed when dropped.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts a process that names its address in a line of its error output.
    fn spawn(command: &mut Command, marker: &str) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stderr.take().context("stderr is piped")?).lines();
        let line = loop {
            let line = lines.next().context("the server ended early")??;
            if line.contains(marker) {
                break line;
            }
        };
        // All further output is read, so that it never waits for us.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        let json: Value = serde_json::from_str(&line)?;
        let address = json["address"].as_str().context("the line names the address")?.to_owned();
        Ok(Self { child, address })
    }

    fn rss_mb(&self) -> Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line =
            status.lines().find(|line| line.starts_with("VmRSS:")).context("the system tells the RSS")?;
        let kilobytes: f64 = line.split_whitespace().nth(1).context("VmRSS has a number")?.parse()?;
        Ok(kilobytes / 1024.0)
    }

    /// CPU time of all its threads, user and system.
    fn cpu(&self) -> Result<Duration> {
        let mut total = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // In nanoseconds, where /proc/PID/stat counts in ticks of 10 ms.
            let text = fs::read_to_string(task?.path().join("schedstat"))?;
            total += text.split_whitespace().next().context("schedstat has three numbers")?.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(total))
    }

    /// Microseconds of the server's CPU time per call.
    async fn cpu_per_call(&self, calls: usize, bytes: usize, kind: Kind) -> Result<f64> {
        self.load(calls / 10, bytes, kind).await?;
        let before = self.cpu()?;
        self.load(calls, bytes, kind).await?;
        Ok((self.cpu()? - before).as_secs_f64() * 1e6 / calls as f64)
    }

    async fn load(&self, calls: usize, bytes: usize, kind: Kind) -> Result<()> {
        let mut callers = tokio::task::JoinSet::new();
        for _ in 0..CALLERS {
            let mut connection = connect(&self.address).await?;
            callers.spawn(async move {
                let mut caller = Caller::new(bytes)?;
                if kind == Kind::Sealed {
                    caller.hello(&mut connection).await?;
                }
                for _ in 0..calls / CALLERS {
                    match kind {
                        Kind::Echo => caller.echo(&mut connection).await?,
                        Kind::Sealed => caller.sealed(&mut connection).await?,
                    }
                }
                anyhow::Ok(())
            });
        }
        while let Some(caller) = callers.join_next().await {
            caller??;
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

async fn connect(address: &str) -> Result<SendRequest<Full<Bytes>>> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    #[expect(clippy::disallowed_methods, reason = "a connection of the bench ends with it")]
    let _connection = tokio::spawn(connection);
    Ok(sender)
}

/// Makes calls and checks their answers.
struct Caller {
    keys: KeySet,
    envelope: RequestEnvelope,
    data: Bytes,
    clock: Clock,
}

impl Caller {
    fn new(bytes: usize) -> Result<Self> {
        // Not compressible, as a frame of real data is not always.
        let data: Bytes = (0..bytes).map(|_| rand::random::<u8>()).collect::<Vec<_>>().into();
        let mut arguments = Vec::new();
        rmp::encode::write_map_len(&mut arguments, 1)?;
        rmp::encode::write_str(&mut arguments, "data")?;
        rmp::encode::write_bin(&mut arguments, &data)?;
        let envelope = RequestEnvelope {
            function: FunctionName::new("bench.calls.echo")?,
            arguments: arguments.into(),
            remaining_ms: 5000,
            hops: vec!["bench".into()],
            traceparent: None,
            idempotency_key: None,
            extensions: Default::default(),
        };
        Ok(Self { keys: KeySet::derive(SECRET)?, envelope, data, clock: Clock::start() })
    }

    /// Has frames name the process at the other end; one of before does not say who it is.
    async fn hello(&mut self, connection: &mut SendRequest<Full<Bytes>>) -> Result<()> {
        let hello = RequestEnvelope::hello(&Identity::new("bench".into()), 5000);
        let (id, frame) = wire::seal_request(&self.keys, self.clock.now_ms(), &hello, Compression::Never);
        let body = post(connection, wire::CONTENT_TYPE, frame.into()).await?;
        let answer = wire::open_response(&self.keys, id, BytesMut::from(body), &Limits::of_size(1 << 16))?;
        self.envelope.extensions.to = answer.extensions.by.map(|by| by.instance);
        Ok(())
    }

    async fn echo(&self, connection: &mut SendRequest<Full<Bytes>>) -> Result<()> {
        let body = post(connection, "application/octet-stream", self.data.clone()).await?;
        ensure!(body == self.data, "the echo differs");
        Ok(())
    }

    async fn sealed(&self, connection: &mut SendRequest<Full<Bytes>>) -> Result<()> {
        let (id, frame) =
            wire::seal_request(&self.keys, self.clock.now_ms(), &self.envelope, Compression::Never);
        let body = post(connection, wire::CONTENT_TYPE, frame.into()).await?;
        let limits = Limits::of_size(1 << 24);
        let answer = wire::open_response(&self.keys, id, BytesMut::from(body), &limits)?;
        ensure!(answer.outcome?.ends_with(&self.data), "the answer differs");
        Ok(())
    }
}

async fn post(connection: &mut SendRequest<Full<Bytes>>, content_type: &str, body: Bytes) -> Result<Bytes> {
    let request = Request::post("/api/v1/proxy/remote")
        .header("host", "localhost")
        .header("content-type", content_type)
        .body(Full::new(body))?;
    connection.ready().await?;
    let response = connection.send_request(request).await?;
    ensure!(response.status() == StatusCode::OK, "status {}", response.status());
    Ok(response.into_body().collect().await?.to_bytes())
}

/// The least that an HTTP server can do with a body.
async fn echo_server() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    eprintln!("{{\"message\":\"listening\",\"address\":\"{}\"}}", listener.local_addr()?);
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let service = service_fn(|request: Request<Incoming>| async {
            let body = request.into_body().collect().await?.to_bytes();
            Ok::<_, hyper::Error>(Response::new(Full::new(body)))
        });
        let connection =
            hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
        #[expect(clippy::disallowed_methods, reason = "a connection of the bench ends with it")]
        let _connection = tokio::spawn(connection);
    }
}

/// The daemon of a build, with three plugins.
struct Daemon {
    server: Server,
    start_ms: f64,
}

impl Daemon {
    fn start(scratch: &Path, target: &Path) -> Result<Self> {
        fs::create_dir_all(scratch.join("plugins"))?;
        for plugin in ["demo", "reports", "bench"] {
            let file = format!("lib{plugin}.so");
            let built = target.join(&file);
            fs::copy(&built, scratch.join("plugins").join(file))
                .with_context(|| format!("{} is not built", built.display()))?;
        }
        let config = scratch.join("config.toml");
        fs::write(
            &config,
            format!("plugins.proxy.auth.rules = {{ \"/api/v1/proxy/remote\" = [\"{SECRET}\"] }}\n"),
        )?;
        let mut command = Command::new(target.join("framex-host"));
        command.args(["--port", "0", "--log-format", "json", "--config"]).arg(config);
        let begin = Instant::now();
        let server = Server::spawn(&mut command, "listening")?;
        Ok(Self { server, start_ms: begin.elapsed().as_secs_f64() * 1e3 })
    }
}

fn target_folder() -> Result<PathBuf> {
    let bench = std::env::current_exe()?;
    Ok(bench.parent().and_then(Path::parent).context("a bench is in target/PROFILE/deps")?.to_owned())
}
