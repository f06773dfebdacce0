//! How an environment's portals look, and who may show them in a frame.

use serde::{Deserialize, Serialize};

/// Characters of the name.
pub const BRAND_NAME_CHARS_MAX: usize = 64;
/// Bytes of the picture.
pub const LOGO_BYTES_MAX: usize = 64 * 1024;
/// Origins that may show portals in a frame.
pub const FRAME_ORIGINS_MAX: usize = 20;
/// Contrast that text has to its ground. Source: WCAG 2.2, 1.4.3.
const CONTRAST_MIN: f64 = 4.5;
/// The darkest ground of light pages that accents stand on, and the lightest of
/// dark ones.
const LIGHT_GROUND: Colour = Colour([0xee, 0xf1, 0xf1]);
const DARK_GROUND: Colour = Colour([0x26, 0x31, 0x35]);

/// Everything empty: as Hookpost looks.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Branding {
    /// In place of the application's name; may be empty.
    pub name: String,
    pub colour: Option<Colour>,
    pub logo: Option<Logo>,
    /// Such as `https://app.example.com`.
    pub framed_by: Vec<String>,
}

/// Red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Colour(pub [u8; 3]);

/// A picture that browsers take from us as nothing but a picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logo {
    pub kind: LogoKind,
    pub bytes: Vec<u8>,
}

/// No SVG: that is a document with a will of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogoKind {
    Png,
    Jpeg,
    Webp,
}

impl LogoKind {
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Webp => "image/webp",
        }
    }
}

impl Logo {
    /// The picture in these bytes, told by how they begin.
    ///
    /// # Errors
    /// A sentence's end about what is wrong with them.
    pub fn read(bytes: Vec<u8>) -> Result<Self, String> {
        if bytes.len() > LOGO_BYTES_MAX {
            return Err(format!("must have at most {LOGO_BYTES_MAX} bytes"));
        }
        let kind = match bytes.as_slice() {
            [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, ..] => LogoKind::Png,
            [0xff, 0xd8, 0xff, ..] => LogoKind::Jpeg,
            [
                b'R',
                b'I',
                b'F',
                b'F',
                _,
                _,
                _,
                _,
                b'W',
                b'E',
                b'B',
                b'P',
                ..,
            ] => LogoKind::Webp,
            _ => return Err("must be a PNG, JPEG or WebP picture".to_owned()),
        };
        Ok(Self { kind, bytes })
    }
}

impl Colour {
    /// Reads `#0b6b7d`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.strip_prefix('#')?;
        if digits.len() != 6 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        let part = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).ok();
        Some(Self([part(0)?, part(2)?, part(4)?]))
    }

    /// Writes `#0b6b7d`.
    #[must_use]
    pub fn text(self) -> String {
        let [red, green, blue] = self.0;
        format!("#{red:02x}{green:02x}{blue:02x}")
    }

    /// Relative luminance, 0 to 1. Source: WCAG 2.2.
    fn luminance(self) -> f64 {
        let part = |byte: u8| {
            let share = f64::from(byte) / 255.0;
            if share <= 0.04045 {
                share / 12.92
            } else {
                ((share + 0.055) / 1.055).powf(2.4)
            }
        };
        let [red, green, blue] = self.0;
        0.2126 * part(red) + 0.7152 * part(green) + 0.0722 * part(blue)
    }

    fn contrast(self, other: Self) -> f64 {
        let (a, b) = (self.luminance(), other.luminance());
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    /// A step of a twentieth towards black or white.
    fn towards(self, end: u8) -> Self {
        Self(self.0.map(|part| {
            let (from, to) = (i32::from(part), i32::from(end));
            let step = ((to - from).abs() + 19) / 20;
            let next = from + step * (to - from).signum();
            u8::try_from(next.clamp(0, 255)).expect("clamped")
        }))
    }

    fn readable_on(self, ground: Self, end: u8) -> Self {
        let mut colour = self;
        while colour.contrast(ground) < CONTRAST_MIN && colour.0 != [end; 3] {
            colour = colour.towards(end);
        }
        colour
    }
}

impl Branding {
    /// The style sheet of its colour, light and dark, each as near to it as can
    /// be read; `None` without a colour.
    #[must_use]
    pub fn style_sheet(&self) -> Option<String> {
        let colour = self.colour?;
        let light = colour.readable_on(LIGHT_GROUND, 0);
        let dark = colour.readable_on(DARK_GROUND, 255);
        let (white, black) = (Colour([255; 3]), Colour([0; 3]));
        let on = |ground: Colour| {
            if ground.contrast(white) >= ground.contrast(black) {
                white
            } else {
                black
            }
        };
        Some(format!(
            "@layer tokens {{ :root {{ --brand: light-dark({}, {}); --on-brand: light-dark({}, {}); }} }}\n",
            light.text(),
            dark.text(),
            on(light).text(),
            on(dark).text()
        ))
    }
}

/// An origin that may show portals in a frame: `https://` and a host, perhaps a
/// port; `http://` for this machine alone.
///
/// # Errors
/// A sentence's end about what is wrong with it.
pub fn frame_origin(text: &str) -> Result<String, &'static str> {
    const WANTED: &str = "must be an origin such as https://app.example.com";
    let parsed = url::Url::parse(text).map_err(|_| WANTED)?;
    let host = parsed.host_str().ok_or(WANTED)?;
    if host.contains('*') {
        return Err(WANTED);
    }
    let local = matches!(host, "localhost" | "127.0.0.1" | "[::1]");
    if parsed.scheme() != "https" && !(parsed.scheme() == "http" && local) {
        return Err("must begin with https://");
    }
    let origin = parsed.origin().ascii_serialization();
    if text.trim_end_matches('/') == origin {
        Ok(origin)
    } else {
        Err(WANTED)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_colour_can_be_read_on_both_grounds() {
        for text in [
            "#ffffff", "#000000", "#ffff00", "#0b6b7d", "#ff0000", "#777777",
        ] {
            let colour = Colour::parse(text).expect("a colour");
            assert_eq!(colour.text(), text);
            let light = colour.readable_on(LIGHT_GROUND, 0);
            let dark = colour.readable_on(DARK_GROUND, 255);
            assert!(
                light.contrast(LIGHT_GROUND) >= CONTRAST_MIN,
                "{text} {light:?}"
            );
            assert!(
                dark.contrast(DARK_GROUND) >= CONTRAST_MIN,
                "{text} {dark:?}"
            );
            let branding = Branding {
                colour: Some(colour),
                ..Branding::default()
            };
            let sheet = branding.style_sheet().expect("it has a colour");
            assert!(sheet.contains(&light.text()) && sheet.contains(&dark.text()));
        }
        assert_eq!(Branding::default().style_sheet(), None);
        for text in ["", "0b6b7d", "#0b6b7", "#0b6b7g", "#0b6b7d;}", "red"] {
            assert_eq!(Colour::parse(text), None, "{text}");
        }
    }

    #[test]
    fn only_pictures_are_logos() {
        for (bytes, want) in [
            (&b"\x89PNG\r\n\x1a\nrest"[..], Some(LogoKind::Png)),
            (b"\xff\xd8\xff\xe0", Some(LogoKind::Jpeg)),
            (b"RIFF\x01\x02\x03\x04WEBPVP8 ", Some(LogoKind::Webp)),
            (b"<svg xmlns='x'/>", None),
            (b"<!doctype html>", None),
            (b"", None),
        ] {
            let got = Logo::read(bytes.to_vec()).ok().map(|logo| logo.kind);
            assert_eq!(got, want, "{bytes:?}");
        }
        let mut large = b"\x89PNG\r\n\x1a\n".to_vec();
        large.resize(LOGO_BYTES_MAX + 1, 0);
        assert!(Logo::read(large).is_err());
    }

    #[test]
    fn only_origins_frame_portals() {
        for (text, want) in [
            ("https://app.example.com", Some("https://app.example.com")),
            ("https://app.example.com/", Some("https://app.example.com")),
            (
                "https://app.example.com:8443",
                Some("https://app.example.com:8443"),
            ),
            ("http://localhost:3000", Some("http://localhost:3000")),
            ("http://app.example.com", None),
            ("https://app.example.com/path", None),
            ("https://*.example.com", None),
            ("https://a.example; script-src *", None),
            ("*", None),
            ("'self'", None),
            ("data:", None),
            ("", None),
        ] {
            assert_eq!(frame_origin(text).ok().as_deref(), want, "{text}");
        }
    }
}
