//! Listeners as they were written: one place to listen on, or several.

use std::fmt;

use crate::endpoint::{Endpoint, Port};

/// The most places. Each address takes a thread and a descriptor of those that the limits leave for other things than sessions
/// (`sys/limits.rs`).
const MOST: usize = 16;

/// See the module's documentation. There is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listeners {
    text: String,
    places: Vec<(String, Endpoint)>,
}

impl Listeners {
    /// Reads places in the format of [`Endpoint::parse_listener`], separated by commas: the operand of pen and of `-C`.
    pub fn parse(text: &str) -> Result<Self, String> {
        Self::new(text.to_string(), text.split(','))
    }

    /// Reads what [`Self::parse`] reads, separated by blanks: the words of the command `listen`.
    pub fn parse_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, String> {
        let words: Vec<_> = words.into_iter().collect();
        Self::new(words.join(" "), words.iter().flat_map(|word| word.split(',')))
    }

    fn new<'a>(text: String, pieces: impl Iterator<Item = &'a str>) -> Result<Self, String> {
        let read = |piece: &str| match Endpoint::parse_listener(piece) {
            Err(_) if piece.is_empty() && text.contains(',') => Err(format!("\"{text}\" has a comma too many")),
            read => read.map(|endpoint| (piece.to_string(), endpoint)),
        };
        let places: Vec<_> = pieces.map(read).collect::<Result<_, _>>()?;
        if places.len() > MOST {
            return Err(format!("\"{text}\" names more than {MOST} places to listen on"));
        }
        Ok(Self { text, places })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The places, each as it was written and as it is understood.
    pub fn places(&self) -> &[(String, Endpoint)] {
        &self.places
    }

    /// The port of servers that name none: that of the first place which has one.
    pub fn port(&self) -> Option<&Port> {
        self.places.iter().find_map(|(_, endpoint)| endpoint.port())
    }
}

/// As an operand: separated by commas.
impl fmt::Display for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pieces: Vec<_> = self.places.iter().map(|(text, _)| text.as_str()).collect();
        f.write_str(&pieces.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operand_and_a_command_name_the_same_places() {
        let operand = Listeners::parse("80,[::1]:8080,/run/pen.sock").unwrap();
        let command = Listeners::parse_words(["80", "[::1]:8080,/run/pen.sock"]).unwrap();
        assert_eq!(operand.places(), command.places());
        assert_eq!(operand.places().len(), 3);
        assert_eq!(command.text(), "80 [::1]:8080,/run/pen.sock");
        assert_eq!([operand.to_string(), command.to_string()], [operand.text(), operand.text()]);
    }

    #[test]
    fn the_port_of_servers_is_the_first() {
        let port = |text| Listeners::parse(text).unwrap().port().map(ToString::to_string);
        assert_eq!(port("/run/pen.sock,http,81").as_deref(), Some("http"));
        assert_eq!(port("/run/pen.sock"), None);
    }

    #[test]
    fn a_list_that_makes_no_sense_is_refused_by_name() {
        let wrong = |text: &str| Listeners::parse(text).unwrap_err();
        assert_eq!(wrong("80,"), "\"80,\" has a comma too many");
        assert_eq!(wrong(""), "\"\" names no port");
        assert_eq!(wrong("80,a:99999"), "port \"99999\" is not a number from 1 to 65535");
        assert_eq!(wrong("80 81"), "\"80 81\": blanks and control characters are not possible in an address");
        let many = vec!["80"; MOST + 1].join(",");
        assert_eq!(wrong(&many), format!("\"{many}\" names more than 16 places to listen on"));
    }
}
