//! HTTP as clients, proxies and balancers use it: connections that are kept, headers, and refusals.

mod headers;
mod kept;
mod proxies;
mod refusals;
