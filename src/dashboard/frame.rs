//! What every page has around it.

pub(super) struct Bare {
    pub(super) title: String,
}

impl Bare {
    pub(super) fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
        }
    }
}
