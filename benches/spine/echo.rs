//! The least a hyper server can do with a message: read it and answer 202. Its figures are the ceiling.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;

/// Serves until the process is killed.
pub(crate) fn serve(port: u16) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let service = hyper::service::service_fn(answer);
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            tokio::spawn(connection);
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let status = if request.method() == Method::POST {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    // A body that breaks off ends the connection anyway.
    drop(request.into_body().collect().await);
    let id = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut response = Response::new(Full::from(format!(r#"{{"id":"msg_{id}"}}"#)));
    *response.status_mut() = status;
    Ok(response)
}
