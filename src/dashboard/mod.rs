//! The dashboard, and the customers' portal: pages made here, for two viewers.
//!
//! A route belongs to an environment, to one application, or to both. What
//! belongs to an application is there twice: for operators below
//! `/env/{env}/applications/{app}`, for customers below `/portal`, where the
//! session names the application. A handler gets its `Place`
//! from `gate`, and asks nobody else who is looking.

mod access;
mod activity;
mod applications;
mod arrived;
mod attempts;
mod chart;
mod endpoints;
mod event_types;
mod failure;
mod form;
mod frame;
mod gate;
mod inboxes;
mod jobs;
mod logs;
mod messages;
mod notices;
mod parts;
mod place;
mod portal;
pub(crate) mod pretty;
mod requests;
mod search;
mod settings;
mod sources;
mod standing;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter, get, on, post};
use tower_http::catch_panic::CatchPanicLayer;

use self::gate::Gate;
use self::place::PORTAL;
use crate::domain::principal::Capability;
use crate::http::fallback::{no_method, panicked};
use crate::http::state::AppState;

/// Below which paths a route is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// `/env/{env}`
    Environment,
    /// `/env/{env}/applications/{app}` and `/portal`
    Application,
    /// All three.
    Both,
    /// `/env/{env}/applications/{app}`: what operators alone do with one.
    Operated,
}

/// The paths before a route's own.
const ENVIRONMENT: &str = "/env/{env}";
const APPLICATION: &str = "/env/{env}/applications/{app}";

impl Of {
    /// What comes before the path of such a route.
    #[must_use]
    pub fn bases(self) -> &'static [&'static str] {
        match self {
            Self::Environment => &[ENVIRONMENT],
            Self::Application => &[APPLICATION, PORTAL],
            Self::Both => &[ENVIRONMENT, APPLICATION, PORTAL],
            Self::Operated => &[APPLICATION],
        }
    }
}

/// Every page and form behind a session. The router is made from this table,
/// and tests go through it, so that none is left out.
macro_rules! routes {
    ($($of:ident $method:ident $path:literal $capability:ident => $handler:path;)*) => {
        /// Where, method, path, and what a viewer must be allowed for it.
        pub const ROUTES: &[(Of, &str, &str, Capability)] =
            &[$((Of::$of, stringify!($method), $path, Capability::$capability)),*];

        fn table() -> Vec<(Of, &'static str, Capability, MethodRouter<AppState>)> {
            vec![$((
                Of::$of,
                $path,
                Capability::$capability,
                on(MethodFilter::$method, $handler),
            )),*]
        }
    };
}

routes! {
    Both GET "" Read => activity::show;
    Both GET "/endpoints" Read => endpoints::index;
    Application POST "/endpoints" Manage => endpoints::create;
    Application GET "/endpoints/new" Manage => endpoints::new;
    Operated POST "/endpoints/inboxes" Manage => endpoints::inbox;
    Application GET "/endpoints/{ep}" Read => endpoints::show;
    Application GET "/endpoints/{ep}/advanced" Manage => endpoints::advanced;
    Application POST "/endpoints/{ep}/advanced" Manage => endpoints::update;
    Application GET "/endpoints/{ep}/testing" Read => endpoints::testing;
    Application POST "/endpoints/{ep}/examples" Send => endpoints::ping;
    Application POST "/endpoints/{ep}/pauses" Manage => endpoints::pause;
    Application POST "/endpoints/{ep}/resumptions" Manage => endpoints::resume;
    Application POST "/endpoints/{ep}/disablings" Manage => endpoints::disable;
    Application POST "/endpoints/{ep}/enablings" Manage => endpoints::enable;
    Application POST "/endpoints/{ep}/deletions" Manage => endpoints::delete;
    Application POST "/endpoints/{ep}/secret-reveals" Secrets => endpoints::reveal;
    Application POST "/endpoints/{ep}/secret-rotations" Secrets => endpoints::rotate;
    Application GET "/endpoints/{ep}/recoveries/new" Send => endpoints::recover_form;
    Application POST "/endpoints/{ep}/recoveries" Send => endpoints::recover_start;
    Both GET "/messages" Read => messages::index;
    Both GET "/messages/live" Read => logs::live_messages;
    Both GET "/messages/export" Read => messages::export;
    Operated GET "/messages/new" Send => messages::new;
    Operated POST "/messages" Send => messages::create;
    Application GET "/messages/{msg}" Read => messages::show;
    Application GET "/messages/{msg}/payload" Read => messages::download;
    Application POST "/messages/{msg}/replays" Send => messages::replay_all;
    Application POST "/messages/{msg}/endpoints/{ep}/replays" Send => messages::replay;
    Both GET "/attempts" Read => attempts::index;
    Both GET "/attempts/live" Read => logs::live_attempts;
    Both GET "/attempts/export" Read => attempts::export;
    Both POST "/replays" Send => logs::replay_chosen;
    Both GET "/event-types" Read => event_types::index;
    Environment POST "/event-types" Manage => event_types::create;
    Environment GET "/event-types/new" Manage => event_types::new;
    Both GET "/event-types/{name}" Read => event_types::show;
    Environment POST "/event-types/{name}" Manage => event_types::update;
    Environment GET "/event-types/{name}/edit" Manage => event_types::edit;
    Environment POST "/event-types/{name}/archivings" Manage => event_types::archive;
    Environment POST "/event-types/{name}/restorations" Manage => event_types::restore;
    Environment POST "/event-types/{name}/deletions" Manage => event_types::delete;
    Both GET "/jobs" Read => jobs::index;
    Both GET "/jobs/{job}" Read => jobs::show;
    Both POST "/jobs/{job}/cancellations" Send => jobs::cancel;
    Both GET "/search" Read => search::jump;
    Application GET "/theme.css" Read => portal::theme;
    Application GET "/logo" Read => portal::logo;
    Operated POST "/portal-links" Secrets => portal::link;
    Operated POST "/deletions" Manage => applications::delete;
    Environment GET "/applications" Read => applications::index;
    Environment POST "/applications" Manage => applications::create;
    Environment GET "/inboxes" Read => inboxes::index;
    Environment POST "/inboxes" Manage => inboxes::create;
    Environment GET "/inboxes/{token}" Read => inboxes::show;
    Environment POST "/inboxes/{token}" Manage => inboxes::update;
    Environment GET "/inboxes/{token}/live" Read => inboxes::live;
    Environment POST "/inboxes/{token}/clearings" Manage => inboxes::clear;
    Environment POST "/inboxes/{token}/listeners/{lsn}/endings" Manage => inboxes::end_listener;
    Environment POST "/inboxes/{token}/deletions" Manage => inboxes::delete;
    Environment GET "/inboxes/{token}/received/{rcv}" Read => inboxes::received;
    Environment GET "/inboxes/{token}/received/{rcv}/body" Read => inboxes::body;
    Environment POST "/inboxes/{token}/received/{rcv}/replays" Manage => inboxes::replay;
    Environment GET "/settings" Read => settings::general;
    Environment GET "/requests" Read => requests::all;
    Application GET "/requests" Read => requests::index;
    Application POST "/requests" Send => requests::create;
    Application GET "/requests/{req}" Read => requests::show;
    Application POST "/endpoints/{ep}/validations" Send => requests::validate;
    Environment GET "/records" Read => sources::all_records;
    Environment GET "/sources" Read => sources::index;
    Environment GET "/sources/new" Manage => sources::new;
    Environment POST "/sources" Manage => sources::create;
    Environment GET "/sources/{src}" Read => sources::show;
    Environment POST "/sources/{src}" Manage => sources::update;
    Environment GET "/sources/{src}/edit" Manage => sources::edit;
    Environment GET "/sources/{src}/live" Read => sources::live;
    Environment POST "/sources/{src}/secret-reveals" Secrets => sources::reveal;
    Environment POST "/sources/{src}/deletions" Manage => sources::delete;
    Environment GET "/sources/{src}/received/{rcv}" Read => sources::received;
    Environment GET "/sources/{src}/received/{rcv}/body" Read => sources::body;
    Environment POST "/sources/{src}/received/{rcv}/verifications" Manage => sources::verify;
    Environment GET "/sources/{src}/records" Read => sources::records;
    Environment GET "/sources/{src}/records/{record}" Read => sources::record;
    Environment POST "/sources/{src}/records/{record}/deletions" Manage => sources::delete_record;
    Environment GET "/settings/keys" Admin => settings::keys::index;
    Environment POST "/settings/keys" Admin => settings::keys::create;
    Environment POST "/settings/keys/{key}/rotations" Admin => settings::keys::rotate;
    Environment POST "/settings/keys/{key}/revocations" Admin => settings::keys::revoke;
    Environment GET "/settings/users" Admin => settings::users::index;
    Environment POST "/settings/users" Admin => settings::users::invite;
    Environment POST "/settings/users/{user}" Admin => settings::users::set_role;
    Environment POST "/settings/users/{user}/password-links" Admin => settings::users::reset;
    Environment POST "/settings/users/{user}/removals" Admin => settings::users::remove;
    Environment GET "/settings/audit" Admin => settings::audit::index;
    Environment GET "/settings/portal" Admin => portal::settings;
    Environment POST "/settings/portal" Admin => portal::save;
    Environment GET "/settings/environments" Environments => settings::environments::index;
    Environment POST "/settings/environments" Environments => settings::environments::create;
    Environment POST "/settings/environments/{other}" Environments => settings::environments::rename;
    Environment POST "/settings/environments/{other}/deletions" Environments => settings::environments::delete;
    Environment GET "/account" Read => settings::account::show;
    Environment POST "/account/passwords" Read => settings::account::change_password;
    Environment POST "/account/endings" Read => settings::account::end_others;
}

/// Every route that asks for no session: method and path.
pub const OPEN_ROUTES: &[(&str, &str)] = &[
    ("GET", "/"),
    ("GET", "/sign-in"),
    ("POST", "/sign-in"),
    ("POST", "/sign-out"),
    ("POST", "/portal/sign-out"),
    ("GET", "/links/{token}"),
    ("POST", "/links/{token}"),
];

/// The pages.
pub fn router(state: &AppState) -> Router {
    let mut router = Router::new()
        .route("/", get(access::home))
        .route("/sign-in", get(access::sign_in_page).post(access::sign_in))
        .route("/sign-out", post(access::sign_out))
        .route("/portal/sign-out", post(access::sign_out))
        .route("/links/{token}", get(access::follow).post(access::redeem));
    for (of, path, wanted, method) in table() {
        for base in of.bases() {
            let gate = Gate {
                state: state.clone(),
                jar: gate::jar_of(base),
                wanted,
            };
            let method = method
                .clone()
                .route_layer(from_fn_with_state(gate, gate::pass));
            router = router.route(&format!("{base}{path}"), method);
        }
    }
    router
        .method_not_allowed_fallback(no_method)
        .layer(CatchPanicLayer::custom(panicked))
        .with_state(state.clone())
}
