//! Any headers for the admin API over TCP: no request passes without the token. And for a public
//! listener on loopback, without a key: nothing comes in by a name that is not the listener's.
#![no_main]

use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;
use framex_host::config::{Config, Environment, Overrides};
use framex_host::http::admin::{AdminToken, comes_in};
use framex_host::http::comes_in_without_key;
use http::{HeaderName, HeaderValue, Method, Request, Uri};
use libfuzzer_sys::fuzz_target;

const TOKEN: &str = "0123456789abcdef";
const NAME: &str = "api.test";

fn token() -> AdminToken {
    static FOUND: OnceLock<AdminToken> = OnceLock::new();
    let read = || {
        let text = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntoken = \"{TOKEN}\"\n");
        let path = Path::new("/nonexistent/config.toml");
        let config = Config::from_text(&text, path, &Environment::default(), &Overrides::default());
        let admin = config.expect("the config is good").admin_tcp.expect("it listens");
        Arc::new(ArcSwap::from_pointee(admin.token))
    };
    Arc::clone(FOUND.get_or_init(read))
}

/// Returns whether an authority names an address, localhost, or the listener, with any port.
fn is_own(authority: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(authority) else { return false };
    let port = text.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let host = port.map_or(text, |(host, _)| host);
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().is_ok() || ["localhost", NAME].iter().any(|name| host.eq_ignore_ascii_case(name))
}

// The first line is method and target, the others are headers.
fuzz_target!(|data: &[u8]| {
    let mut lines = data.split(|byte| *byte == b'\n');
    let mut first = lines.next().unwrap_or_default().splitn(2, |byte| *byte == b' ');
    let Some(method) = first.next().and_then(|method| Method::from_bytes(method).ok()) else { return };
    let Some(target) = first.next().and_then(|target| Uri::try_from(target).ok()) else { return };
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = target;
    for line in lines {
        let Some(at) = line.iter().position(|byte| *byte == b':') else { continue };
        let name = HeaderName::from_bytes(&line[..at]);
        let value = HeaderValue::from_bytes(line[at + 1..].trim_ascii());
        if let (Ok(name), Ok(value)) = (name, value) {
            request.headers_mut().append(name, value);
        }
    }
    if comes_in(9090, token(), &request) {
        let shown = |value: &HeaderValue| value.as_bytes().ends_with(TOKEN.as_bytes());
        assert!(request.headers().get_all("authorization").iter().any(shown), "{request:?}");
        assert_eq!(request.headers().get_all("host").iter().count(), 1, "{request:?}");
    }
    let (head, ()) = request.into_parts();
    if comes_in_without_key(&[NAME.to_owned()], &head) {
        let target = head.uri.authority().map(|authority| authority.as_str().as_bytes());
        let hosts = head.headers.get_all("host").iter().map(HeaderValue::as_bytes);
        assert!(target.into_iter().chain(hosts).all(is_own), "{head:?}");
    }
});
