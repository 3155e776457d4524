//! The statuses of answers (RFC 9110, RFC 6585).

/// As it is asked for.
pub const OK: u16 = 200;
/// Done; the page to look at is elsewhere.
pub const SEE_OTHER: u16 = 303;
/// The request is wrong.
pub const BAD_REQUEST: u16 = 400;
/// Only with a password.
pub const UNAUTHORIZED: u16 = 401;
/// Not for this client, or not at all.
pub const FORBIDDEN: u16 = 403;
/// There is no such page.
pub const NOT_FOUND: u16 = 404;
/// Not with this method.
pub const METHOD_NOT_ALLOWED: u16 = 405;
/// The client takes too long.
pub const REQUEST_TIMEOUT: u16 = 408;
/// The change was not possible.
pub const CONFLICT: u16 = 409;
/// A body must tell its length.
pub const LENGTH_REQUIRED: u16 = 411;
/// The body is too long.
pub const CONTENT_TOO_LARGE: u16 = 413;
/// Passwords are tried too often.
pub const TOO_MANY_REQUESTS: u16 = 429;
/// The head is too long.
pub const FIELDS_TOO_LARGE: u16 = 431;
/// No server takes clients, or too many clients watch.
pub const UNAVAILABLE: u16 = 503;
/// Not HTTP/1.
pub const VERSION_NOT_SUPPORTED: u16 = 505;

/// What a status is called.
pub fn phrase(status: u16) -> &'static str {
    match status {
        OK => "OK",
        SEE_OTHER => "See Other",
        BAD_REQUEST => "Bad Request",
        UNAUTHORIZED => "Unauthorized",
        FORBIDDEN => "Forbidden",
        NOT_FOUND => "Not Found",
        METHOD_NOT_ALLOWED => "Method Not Allowed",
        REQUEST_TIMEOUT => "Request Timeout",
        CONFLICT => "Conflict",
        LENGTH_REQUIRED => "Length Required",
        CONTENT_TOO_LARGE => "Content Too Large",
        TOO_MANY_REQUESTS => "Too Many Requests",
        FIELDS_TOO_LARGE => "Request Header Fields Too Large",
        VERSION_NOT_SUPPORTED => "HTTP Version Not Supported",
        _ => "Service Unavailable",
    }
}
