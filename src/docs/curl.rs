//! Requests as lines for a shell.

use super::document::Step;
use super::text::json_line;

/// Between the parts of a request.
const BREAK: &str = " \\\n  ";
/// Where sources and inboxes are.
const INBOUND: &str = "/in/";
const KEY_HEADER: &str = r#"-H "Authorization: Bearer $KEY""#;

/// Texts that shell variables stand for.
#[derive(Default)]
pub(super) struct Variables(Vec<(String, String)>);

impl Variables {
    fn put(&self, text: &str, write: impl Fn(&str) -> String) -> String {
        self.0
            .iter()
            .fold(text.to_owned(), |text, (replaced, name)| {
                text.replace(replaced, &write(name))
            })
    }
}

/// The lines of an example: what it needs first, then the request itself.
/// `path` may have what `steps` replace in it.
pub(super) fn example(method: &str, path: &str, body: Option<&str>, steps: &[Step]) -> String {
    let mut variables = Variables::default();
    let mut lines = Vec::new();
    for step in steps {
        let body = (!step.body.is_null()).then(|| json_line(&step.body));
        let body = body.as_deref();
        let request = request(&step.method, &step.path, body, &variables);
        match &step.variable {
            Some(name) => {
                lines.push(capture(name, &request, &step.field));
                variables.0.push((step.replaces.clone(), name.clone()));
            }
            None => lines.push(request),
        }
    }
    lines.push(request(method, path, body, &variables));
    lines.join("\n")
}

/// Takes the first field of that name out of an answer: it needs no more than
/// what every system has.
fn capture(variable: &str, request: &str, field: &str) -> String {
    let pick = format!("| grep -o '\"{field}\":\"[^\"]*'");
    let cut = r#"| head -n 1 | cut -d '"' -f 4"#;
    format!("{variable}=$({request}{BREAK}{pick}{BREAK}{cut})")
}

fn request(method: &str, path: &str, body: Option<&str>, variables: &Variables) -> String {
    let path = variables.put(path, |name| format!("${name}"));
    let usual = if body.is_some() { "POST" } else { "GET" };
    let method = match method {
        method if method == usual => String::new(),
        method => format!("-X {method} "),
    };
    let line = if path.starts_with(INBOUND) {
        // Not of the API: what others send to.
        format!("curl -s {method}\"${{API%/api/v1}}{path}\"")
    } else {
        format!("curl -s {method}\"$API{path}\"{BREAK}{KEY_HEADER}")
    };
    let Some(body) = body else { return line };
    let body = body.replace('\'', r"'\''").replace('\n', "\n  ");
    let body = variables.put(&body, |name| format!(r#"'"${name}"'"#));
    format!("{line}{BREAK}-d '{body}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_line_for_the_shell() {
        let none = Variables::default();
        let variables = Variables(vec![("{id}".to_owned(), "ID".to_owned())]);
        for (method, path, body, variables, want) in [
            ("GET", "/a?b=c", None, &none, r#"curl -s "$API/a?b=c" KEY"#),
            ("POST", "/a", None, &none, r#"curl -s -X POST "$API/a" KEY"#),
            (
                "POST",
                "/a",
                Some(r#"{"it's": "{id}"}"#),
                &variables,
                r#"curl -s "$API/a" KEY -d '{"it'\''s": "'"$ID"'"}'"#,
            ),
            (
                "POST",
                "/in/a",
                None,
                &none,
                r#"curl -s -X POST "${API%/api/v1}/in/a""#,
            ),
            (
                "DELETE",
                "/a/{id}",
                None,
                &variables,
                r#"curl -s -X DELETE "$API/a/$ID" KEY"#,
            ),
        ] {
            let got = request(method, path, body, variables);
            let got = got.replace(BREAK, " ").replace(KEY_HEADER, "KEY");
            assert_eq!(got, want);
        }
    }
}
