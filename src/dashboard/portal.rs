//! The customers' portal: links into it, and how it looks.

use askama::Template;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::endpoints::{answer, back, written};
use super::failure::{Answered, Failure};
use super::form::Form;
use super::frame::{Frame, Tab};
use super::parts::{ApiCall, Well};
use super::place::Place;
use super::settings::Tabs;
use crate::control::FieldError;
use crate::control::portal::PortalLinkInput;
use crate::domain::branding::{
    BRAND_NAME_CHARS_MAX, Branding, Colour, FRAME_ORIGINS_MAX, Logo, frame_origin,
};
use crate::domain::session::PORTAL_LINK_LIFETIME;
use crate::store::StoreError;

#[derive(Template)]
#[template(path = "dashboard/portal/link.html")]
struct LinkPage {
    frame: Frame,
    link: Well,
    name: String,
    api: ApiCall,
}

/// `POST /portal-links`: a link for the application's customer.
pub(super) async fn link(place: Place, _: Form) -> Answered {
    let control = place.state.control();
    let application = &place.application().application;
    let (token, url) = control.new_portal_token();
    let input = PortalLinkInput::default();
    let ends = place.now.plus(PORTAL_LINK_LIFETIME);
    control
        .create_portal_link(place.principal, application.key, input, &token, ends, None)
        .await?;
    let id = place.id(application.key);
    let api = place.api(&format!("/applications/{id}/portal-links"));
    let page = LinkPage {
        frame: Frame::new(&place, Tab::Elsewhere, &[], "Portal link"),
        link: Well::new("portal-link", url.expose()),
        name: application.name.clone(),
        api: ApiCall::new("api-link", "POST", &api, Some(r#"{"readOnly": false}"#)),
    };
    answer(&page)
}

/// `GET /theme.css`
pub(super) async fn theme(place: Place) -> Answered {
    let sheet = branding(&place)?.style_sheet();
    let sheet = sheet.ok_or_else(|| Failure::not_found("style sheet"))?;
    Ok(file("text/css; charset=utf-8", sheet.into_bytes()))
}

/// `GET /logo`
pub(super) async fn logo(place: Place) -> Answered {
    let logo = branding(&place)?.logo;
    let logo = logo.ok_or_else(|| Failure::not_found("picture"))?;
    Ok(file(logo.kind.content_type(), logo.bytes))
}

fn file(kind: &'static str, bytes: Vec<u8>) -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static(kind))], bytes).into_response()
}

#[derive(Template)]
#[template(path = "dashboard/portal/settings.html")]
struct SettingsPage {
    frame: Frame,
    tabs: Tabs,
    name: String,
    colour: String,
    has_logo: bool,
    framed_by: String,
    errors: Vec<FieldError>,
    action: String,
}

impl SettingsPage {
    fn error(&self, field: &str) -> Option<&str> {
        let mut errors = self.errors.iter();
        let found = errors.find(|error| error.path.starts_with(field));
        found.map(|error| error.detail.as_str())
    }
}

fn branding(place: &Place) -> Result<Branding, StoreError> {
    place.state.store.branding(place.environment.key)
}

fn settings_page(place: &Place) -> Result<SettingsPage, StoreError> {
    let branding = branding(place)?;
    Ok(SettingsPage {
        frame: Frame::new(place, Tab::Settings, &[], "Portal"),
        tabs: Tabs::new(place, "Portal"),
        name: branding.name,
        colour: branding.colour.map_or_else(String::new, Colour::text),
        has_logo: branding.logo.is_some(),
        framed_by: branding.framed_by.join("\n"),
        errors: Vec::new(),
        action: place.link("/settings/portal"),
    })
}

/// `GET /settings/portal`
pub(super) async fn settings(place: Place) -> Answered {
    answer(&settings_page(&place)?)
}

/// `POST /settings/portal`
pub(super) async fn save(place: Place, form: Form) -> Answered {
    let before = branding(&place)?;
    match read(before, &form) {
        Ok(branding) => {
            let store = &place.state.store;
            store.set_branding(place.principal, branding).await?;
            Ok(back(&place.link("/settings/portal"), "saved"))
        }
        Err(errors) => {
            let page = SettingsPage {
                name: form.get("name").to_owned(),
                colour: form.get("colour").to_owned(),
                framed_by: form.get("framedBy").to_owned(),
                errors,
                ..settings_page(&place)?
            };
            Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
        }
    }
}

fn read(before: Branding, form: &Form) -> Result<Branding, Vec<FieldError>> {
    let mut errors = Vec::new();
    let name = form.get("name").trim().to_owned();
    if name.chars().count() > BRAND_NAME_CHARS_MAX || name.chars().any(char::is_control) {
        let detail = format!("must have at most {BRAND_NAME_CHARS_MAX} characters");
        errors.push(FieldError::new("name", detail));
    }
    let colour = form.text("colour").map(|text| {
        Colour::parse(text).ok_or_else(|| FieldError::new("colour", "must be such as #0b6b7d"))
    });
    let colour = colour.transpose().unwrap_or_else(|error| {
        errors.push(error);
        None
    });
    let logo = match form.text("logo") {
        None if form.has("removeLogo") => None,
        None => before.logo,
        Some(text) => match picture(text) {
            Ok(logo) => Some(logo),
            Err(detail) => {
                errors.push(FieldError::new("logo", detail));
                None
            }
        },
    };
    let mut framed_by = Vec::new();
    let lines = form.get("framedBy").split(['\n', ',']).map(str::trim);
    for (at, line) in lines.filter(|line| !line.is_empty()).enumerate() {
        match frame_origin(line) {
            Ok(origin) => framed_by.push(origin),
            Err(detail) => {
                let detail = format!("{line}: {detail}");
                errors.push(FieldError::new(format!("framedBy[{at}]"), detail));
            }
        }
    }
    if framed_by.len() > FRAME_ORIGINS_MAX {
        let detail = format!("must be at most {FRAME_ORIGINS_MAX}");
        errors.push(FieldError::new("framedBy", detail));
    }
    if errors.is_empty() {
        Ok(Branding {
            name,
            colour,
            logo,
            framed_by,
        })
    } else {
        Err(errors)
    }
}

/// The picture of a `data:` URI.
fn picture(text: &str) -> Result<Logo, String> {
    let encoded = text.split_once(";base64,").map(|(_, encoded)| encoded);
    let encoded = encoded.ok_or("must be a data: URI in base64, as the file field makes one")?;
    let bytes = STANDARD.decode(encoded).map_err(|_| "is not base64")?;
    Logo::read(bytes)
}
