//! The keys that a running host cannot change: they keep their values until the next start.

use super::Config;
use super::keys::put_back;

impl Config {
    /// Takes the values that need a restart from `running`, which this config replaces; returns the keys that differ.
    pub fn keep_until_restart(&mut self, running: &Self) -> Vec<&'static str> {
        let mut kept = Vec::new();
        let mut keep = |key, differs: bool| kept.extend(differs.then_some(key));
        let both_default = self.has_default_host_id && running.has_default_host_id;
        keep("host_id", put_back(&mut self.host_id, &running.host_id) && !both_default);
        self.has_default_host_id = running.has_default_host_id;
        keep("state_dir", put_back(&mut self.state_dir, &running.state_dir));
        keep("admin.socket", put_back(&mut self.admin_socket, &running.admin_socket));
        match (&mut self.admin_tcp, &running.admin_tcp) {
            // The token is replaced at once: the old one may be known to others.
            (Some(now), Some(before)) => keep("admin.listen", put_back(&mut now.listen, &before.listen)),
            (None, None) => {}
            (now, before) => {
                keep("admin.listen", true);
                keep("admin.token", true);
                now.clone_from(before);
            }
        }
        let tls_came_or_went = self.server_tls.is_some() != running.server_tls.is_some();
        keep("server.tls", tls_came_or_went);
        if tls_came_or_went {
            self.server_tls.clone_from(&running.server_tls);
        }
        self.server.keep_until_restart(&running.server, &mut kept);
        self.proxy.keep_until_restart(&running.proxy, &mut kept);
        self.reload.keep_until_restart(&running.reload, &mut kept);
        self.log.keep_until_restart(&running.log, &mut kept);
        kept
    }
}

#[cfg(test)]
mod tests {
    use crate::config::testing::config;

    #[test]
    fn what_needs_a_restart_stays_and_is_named() {
        let running = config("");
        let mut same = config("[server]\nqueue_max = 5\n");
        assert_eq!(same.keep_until_restart(&running), [""; 0]);
        assert_eq!((same.server.queue_max, &same.host_id), (5, &running.host_id));
        let text = "host_id = \"b\"\nstate_dir = \"other\"\n[admin]\nsocket = \"other/x.sock\"\nlisten = \"127.0.0.1:0\"\n\
            token = \"0123456789abcdef\"\n[server]\nhost = \"::1\"\nport = 1\nconnections_max = 7\nheader_timeout_ms = 7\n\
            [log]\nlevel = \"debug\"\nformat = \"json\"\n";
        let mut other = config(text);
        let expected = [
            "host_id",
            "state_dir",
            "admin.socket",
            "admin.listen",
            "admin.token",
            "server.host",
            "server.port",
            "server.connections_max",
            "server.header_timeout_ms",
            "log.level",
            "log.format",
        ];
        assert_eq!(other.keep_until_restart(&running), expected);
        assert_eq!(other.keep_until_restart(&running), [""; 0], "all of it was put back");
    }
    #[test]
    fn a_token_is_replaced_though_the_listener_stays_where_it_is() {
        let admin = |port: u16, token: &str| {
            config(&format!("admin = {{ listen = \"127.0.0.1:{port}\", token = \"{token}\" }}\n"))
        };
        let running = admin(9090, "the-token-before");
        let mut next = admin(9091, "the-token-of-now");
        assert_eq!(next.keep_until_restart(&running), ["admin.listen"]);
        let tcp = next.admin_tcp.unwrap();
        assert_eq!((tcp.listen.port(), tcp.token.expose()), (9090, "the-token-of-now"));
        let mut without = config("");
        assert_eq!(without.keep_until_restart(&running), ["admin.listen", "admin.token"]);
        assert_eq!(without.admin_tcp.unwrap().token.expose(), "the-token-before");
    }
}
