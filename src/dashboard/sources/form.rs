//! Making and changing a source: first the provider, then only its fields.
//!
//! A form becomes the API's JSON, and goes through the same checks.

use std::collections::BTreeMap;

use askama::Template;
use http::StatusCode;
use serde_json::{Value, json};

use super::super::endpoints::{answer, back, written};
use super::super::failure::{Answered, Failure};
use super::super::form::{Form, header_lines};
use super::super::frame::{Frame, Tab};
use super::super::parts::{ApiCall, Well};
use super::super::place::Place;
use super::{Tabs, found, link, name_of};
use crate::control::FieldError;
use crate::control::sources::SourceInput;
use crate::domain::source::{AnswerRule, Dedupe, EventTypeRule, LiveSource};
use crate::domain::verification::presets::{self, Preset};
use crate::domain::verification::{
    Algorithm, Encoding, Form as SignatureForm, KeyForm, Place as At, Recipe, Scheme, SettingKind,
    Unit,
};
use crate::http::paging::Params;
use crate::http::problem::Problem;
use crate::http::source_input;
use crate::store::Written;

/// Applications that the form offers.
const APPLICATIONS_SHOWN: usize = 200;
/// The general ways to verify come first in the table.
const GENERAL: usize = 9;

struct Choice {
    label: &'static str,
    /// For the search box.
    words: String,
    href: String,
}

#[derive(Template)]
#[template(path = "dashboard/sources/pick.html")]
struct PickPage {
    frame: Frame,
    general: Vec<Choice>,
    providers: Vec<Choice>,
}

struct Setting {
    name: &'static str,
    label: String,
    required: bool,
    secret: bool,
    value: String,
}

struct Application {
    id: String,
    name: String,
    chosen: bool,
}

/// Texts of the fields, by name.
type Texts = BTreeMap<&'static str, String>;

#[derive(Template)]
#[template(path = "dashboard/sources/form.html")]
struct FormPage {
    frame: Frame,
    tabs: Option<Tabs>,
    title: String,
    is_new: bool,
    preset: &'static Preset,
    url: Option<Well>,
    settings: Vec<Setting>,
    applications: Vec<Application>,
    secret_count: usize,
    is_custom: bool,
    texts: Texts,
    enabled: bool,
    errors: Vec<FieldError>,
    action: String,
    cancel: String,
    api: ApiCall,
}

impl FormPage {
    fn secret_label(&self) -> String {
        sentence(self.preset.secret.label())
    }

    fn text(&self, name: &str) -> &str {
        self.texts.get(name).map_or("", String::as_str)
    }

    fn is(&self, name: &str, value: &str) -> bool {
        self.text(name) == value
    }

    fn error(&self, field: &str) -> Option<String> {
        let of_it = self
            .errors
            .iter()
            .filter(|error| error.path.starts_with(field));
        let texts: Vec<String> = of_it
            .map(|error| format!("{} {}", error.path, error.detail))
            .collect();
        (!texts.is_empty()).then(|| texts.join("; "))
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    fn algorithms(&self) -> &'static [&'static str] {
        &Algorithm::NAMES
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    fn encodings(&self) -> &'static [&'static str] {
        &Encoding::NAMES
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    fn key_forms(&self) -> &'static [&'static str] {
        &KeyForm::NAMES
    }

    #[expect(clippy::unused_self, reason = "templates call it")]
    fn units(&self) -> &'static [&'static str] {
        &Unit::NAMES
    }
}

/// `text` as a sentence begins.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(|first| first.to_uppercase().to_string());
    first.unwrap_or_default() + chars.as_str()
}

/// `GET /sources/new`: which provider, then its form.
pub(in super::super) async fn new(place: Place, params: Params) -> Answered {
    if let Some(preset) = params.get("preset").and_then(presets::find) {
        return answer(&form_page(&place, preset, None)?);
    }
    let choice = |preset: &'static Preset| Choice {
        label: preset.label,
        words: format!("{} {}", preset.label.to_lowercase(), preset.name),
        href: place.link(&format!("/sources/new?preset={}", preset.name)),
    };
    let (general, providers) = presets::ALL.split_at(GENERAL);
    let trail = [("Sources", "/sources".to_owned())];
    let page = PickPage {
        frame: Frame::new(&place, Tab::Sources, &trail, "New source"),
        general: general.iter().map(choice).collect(),
        providers: providers.iter().map(choice).collect(),
    };
    answer(&page)
}

/// `GET /sources/{src}/edit`
pub(in super::super) async fn edit(place: Place) -> Answered {
    let source = found(&place)?;
    answer(&form_page(&place, source.verifier.preset, Some(&source))?)
}

fn applications(place: &Place, source: Option<&LiveSource>) -> Result<Vec<Application>, Failure> {
    let store = &place.state.store;
    let all = store.list_applications(place.scope(), 0, APPLICATIONS_SHOWN)?;
    let own = source.map(|source| source.settings.application);
    let listed = all.into_iter().map(|one| Application {
        id: place.id(one.key),
        chosen: own == Some(one.key),
        name: one.name,
    });
    Ok(listed.collect())
}

fn settings(preset: &'static Preset, source: Option<&LiveSource>) -> Vec<Setting> {
    let value = |name: &str, secret: bool| {
        let stored = source.and_then(|source| source.verifier.setting(name));
        match stored {
            Some(_) if secret => crate::domain::endpoint::MASKED.to_owned(),
            stored => stored.unwrap_or_default().to_owned(),
        }
    };
    let all = preset.settings.iter().map(|setting| {
        let secret = setting.kind == SettingKind::Secret;
        Setting {
            name: setting.name,
            label: sentence(setting.label),
            required: setting.required,
            secret,
            value: value(setting.name, secret),
        }
    });
    all.collect()
}

fn place_texts(texts: &mut Texts, names: (&'static str, &'static str), place: &At<String>) {
    let (kind, value) = match place {
        At::Header(name) => ("header", name),
        At::Field(pointer) => ("field", pointer),
        At::Query(name) => ("query", name),
        At::Item(name) => ("item", name),
    };
    texts.insert(names.0, kind.to_owned());
    texts.insert(names.1, value.clone());
}

fn recipe_texts(texts: &mut Texts, recipe: &Recipe<String>) {
    place_texts(texts, ("signatureIn", "signaturePlace"), &recipe.place);
    match &recipe.form {
        SignatureForm::Whole { prefix } => {
            texts.insert("prefix", prefix.clone());
        }
        SignatureForm::List { separator, prefix } => {
            texts.insert("prefix", prefix.clone());
            texts.insert("separator", separator.to_string());
        }
        SignatureForm::Items { separator, name } => {
            texts.insert("item", name.clone());
            texts.insert("separator", separator.to_string());
        }
    }
    texts.insert("algorithm", recipe.algorithm.name().to_owned());
    texts.insert("encoding", recipe.encoding.name().to_owned());
    texts.insert("key", recipe.key.name().to_owned());
    texts.insert("signed", recipe.signed.clone());
    if let Some(stamp) = &recipe.timestamp {
        place_texts(texts, ("timestampIn", "timestampPlace"), &stamp.place);
        texts.insert("unit", stamp.unit.name().to_owned());
    }
    if let Some(id) = &recipe.id {
        place_texts(texts, ("idIn", "idPlace"), id);
    }
}

fn texts_of(place: &Place, source: &LiveSource) -> Texts {
    let settings = &source.settings;
    let mut texts = Texts::new();
    texts.insert("name", settings.name.clone());
    texts.insert("slug", settings.slug.clone());
    let verification = &settings.verification;
    let tolerance = verification.tolerance_s.map(|seconds| seconds.to_string());
    texts.insert("toleranceSeconds", tolerance.unwrap_or_default());
    let ranges: Vec<String> = verification
        .ip_ranges
        .iter()
        .map(ToString::to_string)
        .collect();
    texts.insert("ipRanges", ranges.join(", "));
    if let Some(recipe) = &verification.recipe {
        recipe_texts(&mut texts, recipe);
    }
    match &settings.event_type {
        EventTypeRule::Preset => {}
        EventTypeRule::Fixed(name) => {
            texts.insert("typeIn", "fixed".to_owned());
            texts.insert("typePlace", name.clone());
        }
        EventTypeRule::At { place, fallback } => {
            place_texts(&mut texts, ("typeIn", "typePlace"), place);
            texts.insert("typeFallback", fallback.clone().unwrap_or_default());
        }
    }
    match &settings.dedupe {
        Dedupe::Preset => {}
        Dedupe::Off => drop(texts.insert("dedupeIn", "nothing".to_owned())),
        Dedupe::Body => drop(texts.insert("dedupeIn", "body".to_owned())),
        Dedupe::At(place) => place_texts(&mut texts, ("dedupeIn", "dedupePlace"), place),
    }
    if let Some(record) = &settings.record {
        texts.insert("recordKey", record.key.clone());
        texts.insert("recordHeaders", record.headers.join(", "));
    }
    match &settings.answer {
        AnswerRule::Preset => {}
        AnswerRule::Fixed(fixed) => {
            texts.insert("answerIn", "fixed".to_owned());
            texts.insert("answerStatus", fixed.status.to_string());
            texts.insert("answerType", fixed.content_type.clone());
            texts.insert("answerBody", fixed.body.clone());
            texts.insert("answerHeaders", header_lines(&fixed.headers));
        }
        AnswerRule::Endpoint { endpoint, seconds } => {
            texts.insert("answerIn", "endpoint".to_owned());
            texts.insert("answerEndpoint", place.id(*endpoint));
            texts.insert("answerSeconds", seconds.to_string());
        }
    }
    let limit = |limit: Option<u32>| limit.map_or_else(String::new, |limit| limit.to_string());
    texts.insert("bodyBytes", limit(settings.limits.body_bytes_max));
    texts.insert("perSecond", limit(settings.limits.rate));
    let methods = settings
        .limits
        .methods
        .as_ref()
        .map(|methods| methods.join(", "));
    texts.insert("methods", methods.unwrap_or_default());
    texts
}

fn form_page(
    place: &Place,
    preset: &'static Preset,
    source: Option<&LiveSource>,
) -> Result<FormPage, Failure> {
    let trail = [("Sources", "/sources".to_owned())];
    let title = source.map_or_else(|| format!("New source: {}", preset.label), name_of);
    let (action, cancel) = match source {
        None => (place.link("/sources"), place.link("/sources/new")),
        Some(source) => (link(place, source, ""), link(place, source, "")),
    };
    let api = match source {
        None => ApiCall::new("api-source", "POST", &place.api("/sources"), None),
        Some(source) => {
            let path = place.api(&format!("/sources/{}", source.settings.slug));
            ApiCall::new("api-source", "PUT", &path, Some(r#"{"name": "..."}"#))
        }
    };
    Ok(FormPage {
        frame: Frame::new(place, Tab::Sources, &trail, &title),
        tabs: source.map(|source| Tabs::new(place, source, "settings")),
        is_new: source.is_none(),
        preset,
        url: source.map(|source| Well::new("source-url", place.state.control().source_url(source))),
        settings: settings(preset, source),
        applications: applications(place, source)?,
        secret_count: source.map_or(0, |source| source.settings.verification.secrets.len()),
        is_custom: matches!(preset.scheme, Scheme::OwnRecipe),
        texts: source.map_or_else(Texts::new, |source| texts_of(place, source)),
        enabled: source.is_none_or(|source| source.settings.enabled),
        errors: Vec::new(),
        action,
        cancel,
        title,
        api,
    })
}

/// The form once more, as it was filled in, with what was wrong.
fn again(page: FormPage, form: &Form, problem: Problem) -> Answered {
    if problem.errors.is_empty() {
        return Err(Failure(problem));
    }
    let mut texts = Texts::new();
    for name in FIELDS {
        texts.insert(name, form.get(name).to_owned());
    }
    let settings = page.settings.into_iter().map(|setting| Setting {
        value: form.get(setting.name).to_owned(),
        ..setting
    });
    let chosen = form.get("application");
    let applications = page.applications.into_iter().map(|one| Application {
        chosen: one.id == chosen,
        ..one
    });
    let page = FormPage {
        texts,
        settings: settings.collect(),
        applications: applications.collect(),
        enabled: form.has("enabled"),
        errors: problem.errors,
        ..page
    };
    Ok(written(StatusCode::UNPROCESSABLE_ENTITY, &page))
}

/// Fields with a text of their own. Secrets are not shown again.
const FIELDS: [&str; 35] = [
    "name",
    "slug",
    "toleranceSeconds",
    "ipRanges",
    "signatureIn",
    "signaturePlace",
    "prefix",
    "separator",
    "item",
    "algorithm",
    "encoding",
    "key",
    "signed",
    "timestampIn",
    "timestampPlace",
    "unit",
    "idIn",
    "idPlace",
    "typeIn",
    "typePlace",
    "typeFallback",
    "dedupeIn",
    "dedupePlace",
    "recordKey",
    "recordHeaders",
    "answerIn",
    "answerStatus",
    "answerType",
    "answerBody",
    "answerHeaders",
    "answerEndpoint",
    "answerSeconds",
    "bodyBytes",
    "perSecond",
    "methods",
];

/// One secret a line; a PEM block is one.
fn secrets(text: &str) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    let mut in_block = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if in_block && let Some(last) = all.last_mut() {
            last.push('\n');
            last.push_str(line);
        } else {
            all.push(line.to_owned());
        }
        if line.starts_with("-----BEGIN") {
            in_block = true;
        } else if line.starts_with("-----END") {
            in_block = false;
        }
    }
    all
}

fn list(text: &str) -> Vec<&str> {
    let parts = text.split([',', '\n']).map(str::trim);
    parts.filter(|part| !part.is_empty()).collect()
}

/// A number where it is one; else the text, which the checks refuse.
fn number(text: &str) -> Value {
    text.parse::<u64>()
        .map_or_else(|_| json!(text), |number| json!(number))
}

fn put_place(object: &mut Value, kind: &str, value: &str) {
    if ["header", "field", "query", "item"].contains(&kind) && !value.is_empty() {
        object[kind] = json!(value);
    }
}

fn signature(form: &Form) -> Value {
    let mut signature = json!({});
    put_place(
        &mut signature,
        form.get("signatureIn"),
        form.get("signaturePlace").trim(),
    );
    for name in [
        "item",
        "separator",
        "algorithm",
        "encoding",
        "key",
        "signed",
    ] {
        if let Some(text) = form.text(name) {
            signature[name] = json!(text);
        }
    }
    if !form.get("prefix").is_empty() {
        signature["prefix"] = json!(form.get("prefix"));
    }
    for (name, kind, value) in [
        ("timestamp", "timestampIn", "timestampPlace"),
        ("id", "idIn", "idPlace"),
    ] {
        if let Some(value) = form.text(value) {
            let mut object = json!({});
            put_place(&mut object, form.get(kind), value);
            signature[name] = object;
        }
    }
    if signature.get("timestamp").is_some()
        && let Some(unit) = form.text("unit")
    {
        signature["timestamp"]["unit"] = json!(unit);
    }
    signature
}

fn verification(form: &Form, preset: &'static Preset) -> Value {
    let mut object = json!({"preset": preset.name});
    let secrets = secrets(form.get("secrets"));
    if !secrets.is_empty() {
        object["secrets"] = json!(secrets);
    }
    for setting in preset.settings {
        object[setting.name] = json!(form.get(setting.name).trim());
    }
    if let Some(text) = form.text("toleranceSeconds") {
        object["toleranceSeconds"] = number(text);
    }
    object["ipRanges"] = json!(list(form.get("ipRanges")));
    if matches!(preset.scheme, Scheme::OwnRecipe) {
        object["signature"] = signature(form);
    }
    object
}

fn answer_of(form: &Form) -> Value {
    match form.get("answerIn") {
        "fixed" => {
            let headers = form.headers("answerHeaders");
            let mut object = json!({"headers": headers, "body": form.get("answerBody")});
            object["status"] = number(form.text("answerStatus").unwrap_or("200"));
            if let Some(kind) = form.text("answerType") {
                object["contentType"] = json!(kind);
            }
            object
        }
        "endpoint" => json!({
            "endpoint": form.text("answerEndpoint").unwrap_or("-"),
            "timeoutSeconds": number(form.text("answerSeconds").unwrap_or("10")),
        }),
        _ => json!({}),
    }
}

/// The form as the API takes it.
fn to_json(form: &Form, preset: &'static Preset) -> Value {
    let mut body = json!({
        "name": form.get("name").trim(),
        "enabled": form.has("enabled"),
        "verification": verification(form, preset),
        "answer": answer_of(form),
        "record": {
            "key": form.get("recordKey").trim(),
            "headers": list(form.get("recordHeaders")),
        },
        "limits": {
            "bodyBytes": number(form.text("bodyBytes").unwrap_or("0")),
            "perSecond": number(form.text("perSecond").unwrap_or("0")),
            "methods": list(form.get("methods")),
        },
    });
    for name in ["application", "slug"] {
        if let Some(text) = form.text(name) {
            body[name] = json!(text);
        }
    }
    let mut naming = json!({});
    match form.get("typeIn") {
        "fixed" => naming["fixed"] = json!(form.get("typePlace").trim()),
        kind => put_place(&mut naming, kind, form.get("typePlace").trim()),
    }
    if let Some(fallback) = form.text("typeFallback") {
        naming["fallback"] = json!(fallback);
    }
    body["eventType"] = naming;
    let mut dedupe = json!({});
    match form.get("dedupeIn") {
        by @ ("body" | "nothing") => dedupe["by"] = json!(by),
        "" | "preset" => dedupe["by"] = json!("preset"),
        kind => put_place(&mut dedupe, kind, form.get("dedupePlace").trim()),
    }
    body["dedupe"] = dedupe;
    body
}

fn read(form: &Form, preset: &'static Preset) -> Result<SourceInput, Problem> {
    source_input::read(to_json(form, preset).to_string().as_bytes())
}

/// `POST /sources`
pub(in super::super) async fn create(place: Place, form: Form) -> Answered {
    let preset = presets::find(form.get("preset"));
    let preset = preset.ok_or_else(|| Failure::not_found("provider"))?;
    let input = match read(&form, preset) {
        Ok(input) => input,
        Err(problem) => return again(form_page(&place, preset, None)?, &form, problem),
    };
    let control = place.state.control();
    match control.create_source(place.principal, input, None).await {
        Ok(Written::Fresh(made)) => Ok(back(&link(&place, &made, ""), "created")),
        Ok(Written::Repeated(_)) => {
            unreachable!("without an idempotency key nothing is repeated")
        }
        Err(error) => again(form_page(&place, preset, None)?, &form, error.into()),
    }
}

/// `POST /sources/{src}`
pub(in super::super) async fn update(place: Place, form: Form) -> Answered {
    let source = found(&place)?;
    let preset = source.verifier.preset;
    let page = |source: &LiveSource| form_page(&place, preset, Some(source));
    let input = match read(&form, preset) {
        Ok(input) => input,
        Err(problem) => return again(page(&source)?, &form, problem),
    };
    let control = place.state.control();
    match control.update_source(place.principal, &source, input).await {
        Ok(_) => Ok(back(&link(&place, &source, ""), "saved")),
        Err(error) => again(page(&source)?, &form, error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_lines_or_blocks() {
        let text = "a\n\n b \r\n-----BEGIN PUBLIC KEY-----\nx\ny\n-----END PUBLIC KEY-----\nc";
        assert_eq!(
            secrets(text),
            [
                "a",
                "b",
                "-----BEGIN PUBLIC KEY-----\nx\ny\n-----END PUBLIC KEY-----",
                "c"
            ]
        );
    }

    #[test]
    fn the_general_presets_are_apart() {
        assert_eq!(presets::ALL[GENERAL - 1].name, "custom");
    }
}
