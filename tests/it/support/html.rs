//! Pages taken apart, and what is wrong with how they are put together.

/// Elements that have no end.
const VOID: [&str; 5] = ["meta", "link", "br", "wbr", "path"];

/// An element and the text right after its start, up to the next tag.
#[derive(Clone, Debug)]
pub(crate) struct Element {
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, String)>,
    pub(crate) text: String,
}

impl Element {
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        let found = self.attributes.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }
}

/// The elements of a page in order, and its faults: tags that do not pair,
/// attributes without quotes, what is not escaped.
pub(crate) fn parse(page: &str) -> (Vec<Element>, Vec<String>) {
    let (mut elements, mut faults, mut open) = (Vec::<Element>::new(), Vec::new(), Vec::new());
    let Some(page) = page.strip_prefix("<!doctype html>") else {
        return (elements, vec!["it has no doctype".to_owned()]);
    };
    for part in page.split('<').skip(1) {
        let Some((tag, text)) = part.split_once('>') else {
            faults.push(format!("a lone < before {part:?}"));
            continue;
        };
        if text.contains('>') {
            faults.push(format!("a lone > in {text:?}"));
        }
        if let Some(name) = tag.strip_prefix('/') {
            let last = open.pop();
            if last.as_deref() != Some(name) {
                faults.push(format!("</{name}> ends {last:?}"));
            }
            continue;
        }
        let (name, rest) = tag.split_once(' ').unwrap_or((tag, ""));
        elements.push(Element {
            name: name.to_owned(),
            attributes: attributes(rest.trim_end_matches('/'), &mut faults),
            text: unescape(text),
        });
        if !VOID.contains(&name) {
            open.push(name.to_owned());
        }
    }
    faults.extend(open.iter().map(|name| format!("<{name}> has no end")));
    (elements, faults)
}

fn attributes(mut rest: &str, faults: &mut Vec<String>) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while !rest.trim().is_empty() {
        let Some((name, after)) = rest.split_once("=\"") else {
            faults.push(format!("an attribute without a value in {rest:?}"));
            break;
        };
        let Some((value, after)) = after.split_once('"') else {
            faults.push(format!("an attribute without an end in {rest:?}"));
            break;
        };
        found.push((name.trim().to_owned(), unescape(value)));
        rest = after;
    }
    found
}

/// Text as a reader sees it.
pub(crate) fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('&') {
        plain.push_str(before);
        let (name, after) = after.split_once(';').expect("every & begins a name");
        plain.push(match name {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            number => {
                let code = number.strip_prefix('#').and_then(|code| code.parse().ok());
                code.and_then(char::from_u32).expect("a character's number")
            }
        });
        rest = after;
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_together_wrongly_is_found() {
        for (page, want) in [
            ("<!doctype html><p>a &lt; b<br>c</p>", 0),
            ("<!doctype html><a href=\"#x\" class=\"y\"><b>z</b></a>", 0),
            ("<p></p>", 1),
            ("<!doctype html><p>", 1),
            ("<!doctype html><p><b></p></b>", 2),
            ("<!doctype html><p hidden>a</p>", 1),
            ("<!doctype html><p>a > b</p>", 1),
        ] {
            let (_, faults) = parse(page);
            assert_eq!(faults.len(), want, "{page}: {faults:?}");
        }
        let (elements, _) = parse("<!doctype html><a href=\"/?a&amp;b\">c &#38; d</a>");
        assert_eq!(elements[0].attribute("href"), Some("/?a&b"));
        assert_eq!(elements[0].text, "c & d");
    }
}
