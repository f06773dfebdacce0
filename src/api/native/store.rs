//! `/store`: how much there is, and how big it is, over all environments.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::answer::json;
use crate::http::auth::Caller;
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::http::state::AppState;

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = StoreFigures)]
pub(super) struct Shape {
    /// Messages that are kept.
    messages: u64,
    /// Attempts that are kept.
    attempts: u64,
    /// Deliveries that wait.
    waiting: u64,
    /// Attempts that are being made.
    in_flight: usize,
    /// All payloads together.
    payload_bytes: u64,
    /// An estimate of what the content takes on disk: what retention by size goes by.
    content_bytes: u64,
    /// The file, free pages included.
    file_bytes: u64,
    /// The pages that hold rows; only with `?measure=pages`, for it takes long.
    live_bytes: Option<u64>,
}

pub(super) async fn show(
    State(state): State<AppState>,
    Caller(_): Caller,
    params: Params,
) -> Result<Response, Problem> {
    let measure = params.parsed("measure", "pages", |text| (text == "pages").then_some(()))?;
    let live_bytes = match measure {
        Some(()) => Some(measured(&state).await?),
        None => None,
    };
    let figures = state.store.figures()?;
    let shape = Shape {
        messages: figures.totals.messages,
        attempts: figures.totals.attempts,
        waiting: figures.totals.waiting,
        in_flight: state.engine.in_flight(),
        payload_bytes: figures.totals.payload_bytes,
        content_bytes: figures.content_bytes,
        file_bytes: figures.file_bytes,
        live_bytes,
    };
    Ok(json(StatusCode::OK, &shape))
}

/// Walks the tables on a thread where that holds up nobody.
async fn measured(state: &AppState) -> Result<u64, Problem> {
    let store = state.store.clone();
    let walk = tokio::task::spawn_blocking(move || store.live_bytes());
    walk.await
        .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
        .map_err(Problem::from)
}
