//! Where connections come in. A parked long poll is one task with small buffers, and tens of thousands of them are the
//! hub's ordinary state: hyper serves them directly, and a poll goes past the router. Refuses whoever is one too many.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::{Method, Request};
use felhom_shared::wire::POLL_PATH;
use futures_util::FutureExt;
use futures_util::future::Either;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_rustls::TlsAcceptor;
use tower_service::Service;

use super::DRAIN;
use crate::api::host::poll;
use crate::state::AppState;

/// A client that sends nothing for this long while it should is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// Room for request head and body pieces; hyper's default of 400 KiB would be held by every upload.
const READ_BUFFER_BYTES: usize = 64 * 1024;

/// What every listener lets clients through.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) service: Router,
    pub(super) state: AppState,
    pub(super) permits: Arc<Semaphore>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Door {
    pub(super) async fn accept(mut self, listener: TcpListener, acceptor: Option<TlsAcceptor>) {
        loop {
            let accepted = tokio::select! {
                biased;
                _ = self.stopped.changed() => return,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors: closing connections is what helps, so wait for that.
                    tracing::warn!("a connection could not be taken: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else { continue };
            // A delayed small answer would cost every agent 40 ms; a failure here only costs that.
            let _ = stream.set_nodelay(true);
            // Two tasks rather than one that can do both: ten thousand of them are parked.
            match acceptor.clone() {
                None => tokio::spawn(self.clone().serve(stream, peer, permit)),
                Some(acceptor) => tokio::spawn(self.clone().serve_tls((stream, peer), acceptor, permit)),
            };
        }
    }

    async fn serve_tls(
        self,
        (stream, peer): (TcpStream, SocketAddr),
        acceptor: TlsAcceptor,
        permit: OwnedSemaphorePermit,
    ) {
        // Boxed: the room for a handshake would be held as long as the connection lasts.
        match Box::pin(tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream))).await {
            Ok(Ok(stream)) => self.serve(Box::new(stream), peer, permit).await,
            Ok(Err(error)) => tracing::debug!("a TLS handshake failed: {error}"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    }

    /// Serves one connection; the permit is given back when it ends.
    async fn serve<S>(mut self, stream: S, peer: SocketAddr, _permit: OwnedSemaphorePermit)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (router, state) = (self.service, self.state);
        let service = service_fn(move |mut request: Request<Incoming>| {
            if is_poll(&request) {
                return Either::Left(poll::poll(request.into_parts().0, state.clone()).map(Ok));
            }
            // Only the pages ask who is knocking.
            if !request.uri().path().starts_with("/api/") {
                request.extensions_mut().insert(ConnectInfo(peer));
            }
            Either::Right(router.clone().call(request))
        });
        let mut connection = std::pin::pin!(
            http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_TIMEOUT)
                .max_buf_size(READ_BUFFER_BYTES)
                .serve_connection(TokioIo::new(stream), service)
        );
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            _ = self.stopped.changed() => {
                connection.as_mut().graceful_shutdown();
                match Box::pin(tokio::time::timeout(DRAIN, connection)).await {
                    Ok(ended) => ended,
                    Err(_) => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!("a connection ended early: {error}");
        }
    }
}

/// Whether a request goes past the router, to where the router would send it.
fn is_poll(request: &Request<Incoming>) -> bool {
    request.method() == Method::GET && request.uri().path() == POLL_PATH
}
