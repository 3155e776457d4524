//! Applies `http_header`.

use std::sync::Arc;

use super::apply::Outcome;
use crate::policy::balancer::Balancer;
use crate::policy::http::header::{self, Header};

impl Balancer {
    /// Adds a header. One of the same name it takes the place of.
    pub(super) fn set_header(&mut self, header: Header) -> Outcome {
        let headers = Arc::make_mut(&mut Arc::make_mut(&mut self.settings).http_headers);
        match headers.iter().position(|there| there.name().eq_ignore_ascii_case(header.name())) {
            Some(place) => headers[place] = header,
            None if headers.len() == header::MOST => {
                return Outcome::refusal(format!(
                    "http_header {}: there are {} already\n",
                    header.name(),
                    header::MOST
                ));
            }
            None => headers.push(header),
        }
        Outcome::default()
    }

    /// Removes the header of that name, or all.
    pub(super) fn remove_headers(&mut self, name: Option<String>) -> Outcome {
        let headers = Arc::make_mut(&mut Arc::make_mut(&mut self.settings).http_headers);
        let before = headers.len();
        match &name {
            None => headers.clear(),
            Some(name) => headers.retain(|header| !header.name().eq_ignore_ascii_case(name)),
        }
        match name {
            Some(name) if headers.len() == before => {
                Outcome::refusal(format!("http_header {name}: there is none of that name\n"))
            }
            _ => Outcome::default(),
        }
    }
}
