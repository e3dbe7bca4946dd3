//! Requests besides calls: small documents, each over a connection of its own, without following redirects.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, ETAG, IF_NONE_MATCH, LOCATION};
use http::{HeaderValue, Request, StatusCode};
use http_body_util::Full;

use super::{Client, Destination, SendError, read_body};

/// The longest entity tag that is kept, in bytes.
const TAG_BYTES_MAX: usize = 256;

/// One `GET`.
#[derive(Debug)]
pub(in super::super) struct GetRequest<'a> {
    pub(in super::super) to: &'a Destination,
    /// Marked as sensitive, so that no log shows it.
    pub(in super::super) authorization: Option<HeaderValue>,
    /// The tag of the document that is here already.
    pub(in super::super) known: Option<HeaderValue>,
    /// The largest accepted body in bytes.
    pub(in super::super) bytes_max: usize,
    /// The longest time for all of it.
    pub(in super::super) within: Duration,
}

/// An answer, not believed yet.
#[derive(Debug)]
pub(in super::super) struct GetResponse {
    pub(in super::super) status: StatusCode,
    pub(in super::super) tag: Option<HeaderValue>,
    /// It redirects elsewhere.
    pub(in super::super) is_redirect: bool,
    pub(in super::super) body: Bytes,
}

impl Client {
    /// Fetches one document; `None` if it did not arrive in time.
    pub(in super::super) async fn get(
        &self,
        asked: GetRequest<'_>,
    ) -> Option<Result<GetResponse, SendError>> {
        let GetRequest { to, authorization, known, bytes_max, within } = asked;
        let mut request = Request::new(Full::new(Bytes::new()));
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, value) in [(AUTHORIZATION, authorization), (IF_NONE_MATCH, known)] {
            if let Some(value) = value {
                headers.insert(name, value);
            }
        }
        tokio::time::timeout(within, self.get_whole(to, request, bytes_max)).await.ok()
    }

    async fn get_whole(
        &self,
        to: &Destination,
        request: Request<Full<Bytes>>,
        bytes_max: usize,
    ) -> Result<GetResponse, SendError> {
        let mut connection = self.connect(to).await?;
        let response = connection.send(request, to).await?;
        let (head, body) = response.into_parts();
        let body = read_body(&head, body, bytes_max).await?;
        let tag = head.headers.get(ETAG).filter(|tag| tag.len() <= TAG_BYTES_MAX).cloned();
        let is_redirect = head.status.is_redirection() && head.headers.contains_key(LOCATION);
        Ok(GetResponse { status: head.status, tag, is_redirect, body })
    }
}
