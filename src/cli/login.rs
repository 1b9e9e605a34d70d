//! Credentials given by hand: on the command line, on standard input, or typed when asked.
//!
//! What is typed and what comes on standard input is for `terminal` to read; here is decided what has to be asked.

use crate::access::{Credential, Secret};
use crate::error::{Error, Kind, Result};

/// `USER[:PASSWORD]` as it stands on the command line. It is cut where a fault can be told without showing it.
#[derive(Clone, Debug)]
pub(crate) struct Login(Secret);

/// Where a login is to be had, with the flag that says so.
#[derive(Debug)]
pub(crate) enum Given {
    /// It follows the flag.
    Here(&'static str, Login),
    /// On standard input.
    StandardInput(&'static str),
}

/// The person at the command line.
pub(crate) trait Person {
    /// Asks for something that may be seen.
    fn ask(&mut self, prompt: &str) -> Result<String>;
    /// Asks for something that may not.
    fn ask_hidden(&mut self, prompt: &str) -> Result<Secret>;
    /// The next line of standard input; empty at its end.
    fn next_line(&mut self) -> Result<Secret>;
}

// === impl Given ===

impl Given {
    /// From the values of two flags, of which at most one is given: `flag LOGIN` and `flag-stdin`.
    pub(crate) fn new(
        [flag, stdin_flag]: [&'static str; 2],
        login: Option<Login>,
        stdin: bool,
    ) -> Option<Self> {
        let on_standard_input = stdin.then_some(Self::StandardInput(stdin_flag));
        login.map(|login| Self::Here(flag, login)).or(on_standard_input)
    }

    /// The credential for a registry. What is missing is asked for.
    pub(crate) fn credential(&self, registry: &str, person: &mut dyn Person) -> Result<Credential> {
        match self {
            Self::Here(flag, login) => login.complete(registry, person).map_err(|error| {
                if error.kind() == Kind::Cancelled {
                    return error;
                }
                error.hint(format!(
                    "give all of `USER:PASSWORD` on standard input with `{flag}-stdin`, or name a file with `--authfile`"
                ))
            }),
            Self::StandardInput(flag) => {
                Login(person.next_line()?).whole().ok_or_else(|| {
                    let message = format!("`{flag}` finds no user name and password");
                    let hint = "standard input has to have a line `USER:PASSWORD`";
                    Error::new(Kind::InvalidOptions, message).hint(hint)
                })
            }
        }
    }
}

// === impl Login ===

impl From<String> for Login {
    fn from(text: String) -> Self {
        Self(Secret::new(text))
    }
}

impl Login {
    /// Whether a password stands on the command line.
    pub(crate) fn shows_password(&self) -> bool {
        !self.cut().1.is_empty()
    }

    /// Cuts at the first colon, as all tools of the field do: user names have none, passwords may.
    fn cut(&self) -> (&str, &str) {
        let text = self.0.expose();
        text.split_once(':').unwrap_or((text, ""))
    }

    fn whole(&self) -> Option<Credential> {
        let (user, password) = self.cut();
        let whole = !user.is_empty() && !password.is_empty();
        whole.then(|| Credential::basic(user, Secret::new(password)))
    }

    fn complete(&self, registry: &str, person: &mut dyn Person) -> Result<Credential> {
        let (user, password) = self.cut();
        let user = match user {
            "" => person.ask(&format!("user for {registry}: "))?,
            user => user.to_owned(),
        };
        let password = match password {
            "" => person.ask_hidden(&format!("password of {user} for {registry}: "))?,
            password => Secret::new(password),
        };
        let missing = |what| Error::new(Kind::InvalidOptions, format!("no {what} was given"));
        if user.is_empty() {
            return Err(missing("user name"));
        }
        if password.expose().is_empty() {
            return Err(missing("password"));
        }
        Ok(Credential::basic(user, password))
    }
}
