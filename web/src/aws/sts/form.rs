//! Parameters of the query protocol: reading them, and the rules of the model that they are held to.

use super::answer::Error;
use crate::auth::identity::Tags;
use std::{collections::BTreeMap, ops::RangeInclusive};

/// The most parameters of a request: 50 tags with keys and values, and the rest.
const MOST_PARAMS: usize = 256;

/// What a request says, by name.
#[derive(Debug)]
pub(super) struct Params(BTreeMap<String, String>);

/// A set of characters, and how the models write it.
#[derive(Clone, Copy)]
pub(super) struct Charset {
    /// Allowed beside ASCII letters, digits and the underscore.
    pub(super) more: &'static str,
    pub(super) pattern: &'static str,
}

/// Names of sessions.
pub(super) const SESSION_NAME: Charset = Charset { more: "+=,.@-", pattern: "[\\w+=,.@-]*" };
/// External ids.
pub(super) const EXTERNAL_ID: Charset = Charset { more: "+=,.@:/-", pattern: "[\\w+=,.@:\\/-]*" };

impl Params {
    /// Out of the query and the form together. A name that comes twice is refused: it has no one value.
    pub(super) fn read(query: &str, form: &[u8]) -> Result<Params, Error> {
        let mut params = BTreeMap::new();
        let pairs = url::form_urlencoded::parse(query.as_bytes()).chain(url::form_urlencoded::parse(form));
        for (n, (name, value)) in pairs.enumerate() {
            if n == MOST_PARAMS {
                let message = format!("the request has more than {MOST_PARAMS} parameters");
                return Err(Error::new("ValidationError", message));
            }
            let shown = || name.chars().take(64).collect::<String>();
            if params.contains_key(name.as_ref()) {
                return Err(Error::new("ValidationError", format!("the parameter {} comes twice", shown())));
            }
            params.insert(name.into_owned(), value.into_owned());
        }
        Ok(Params(params))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }

    /// Refuses parameters that would mean something here and are not heeded.
    pub(super) fn without(&self, names: &[&str]) -> Result<(), Error> {
        let given = self.0.keys().find(|key| names.iter().any(|n| key.split('.').next() == Some(n)));
        match given {
            Some(key) => {
                let name = member(key.split('.').next().unwrap_or(key));
                Err(Error::constraint(&name, self.get(key), "Member must be left out: this server does not know it"))
            }
            None => Ok(()),
        }
    }

    /// A text of so many characters out of a set.
    pub(super) fn text(
        &self,
        name: &str,
        len: RangeInclusive<usize>,
        of: Option<Charset>,
    ) -> Result<Option<&str>, Error> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let at = member(name);
        let count = value.chars().count();
        if count < *len.start() {
            let rule = format!("Member must have length greater than or equal to {}", len.start());
            return Err(Error::constraint(&at, Some(value), rule));
        }
        if count > *len.end() {
            let rule = format!("Member must have length less than or equal to {}", len.end());
            return Err(Error::constraint(&at, Some(value), rule));
        }
        let fits = |of: Charset| value.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || of.more.contains(c));
        match of {
            Some(of) if !fits(of) => {
                let rule = format!("Member must satisfy regular expression pattern: {}", of.pattern);
                Err(Error::constraint(&at, Some(value), rule))
            }
            _ => Ok(Some(value)),
        }
    }

    /// The same, where there must be one.
    pub(super) fn needed(&self, name: &str, len: RangeInclusive<usize>, of: Option<Charset>) -> Result<&str, Error> {
        self.text(name, len, of)?.ok_or_else(|| Error::constraint(&member(name), None, "Member must not be null"))
    }

    /// `DurationSeconds`, within the bounds of the operation.
    pub(super) fn duration(&self, bounds: RangeInclusive<u32>) -> Result<Option<u32>, Error> {
        let Some(value) = self.get("DurationSeconds") else { return Ok(None) };
        let wrong = |rule: String| Error::constraint("durationSeconds", Some(value), rule);
        // Longer than any number that is right, and still one.
        let Ok(seconds) = value.trim().parse::<i64>() else { return Err(wrong("Member must be an integer".into())) };
        if seconds < i64::from(*bounds.start()) {
            return Err(wrong(format!("Member must have value greater than or equal to {}", bounds.start())));
        }
        match u32::try_from(seconds).ok().filter(|s| bounds.contains(s)) {
            Some(seconds) => Ok(Some(seconds)),
            None => Err(wrong(format!("Member must have value less than or equal to {}", bounds.end()))),
        }
    }

    /// The members of a list, `NAME.member.1` and so on, each with what `field` names in it.
    fn list(&self, name: &str, field: &str, most: usize) -> Result<Vec<&str>, Error> {
        let mut found = Vec::new();
        while let Some(value) = self.get(&format!("{name}.member.{}.{field}", found.len() + 1)) {
            found.push(value);
        }
        let start = format!("{name}.");
        let given = self.0.keys().filter(|key| key.starts_with(&start) && key.ends_with(&format!(".{field}"))).count();
        if given != found.len() {
            let message = format!("the members of {name} are not numbered from 1 without a gap");
            return Err(Error::new("ValidationError", message));
        }
        if found.len() > most {
            let rule = format!("Member must have length less than or equal to {most}");
            return Err(Error::constraint(&member(name), Some(&format!("{} members", found.len())), rule));
        }
        Ok(found)
    }

    /// `Tags`. Keys of one spelling in two cases are one key, as in IAM.
    pub(super) fn tags(&self) -> Result<Tags, Error> {
        let (keys, values) = (self.list("Tags", "Key", 50)?, self.list("Tags", "Value", 50)?);
        if keys.len() != values.len() {
            return Err(Error::new("ValidationError", "each of Tags has a Key and a Value"));
        }
        let mut tags = Tags::new();
        for (key, value) in keys.into_iter().zip(values) {
            if !(1..=128).contains(&key.chars().count()) {
                return Err(Error::constraint("tags.member.key", Some(key), "Member must have 1 to 128 characters"));
            }
            if value.chars().count() > 256 {
                return Err(Error::constraint(
                    "tags.member.value",
                    Some(value),
                    "Member must have at most 256 characters",
                ));
            }
            if tags.keys().any(|known: &String| known.eq_ignore_ascii_case(key)) {
                return Err(Error::new("InvalidParameterValue", format!("Duplicate tag keys found: {key}")));
            }
            tags.insert(key.to_owned(), value.to_owned());
        }
        Ok(tags)
    }

    /// `PolicyArns`.
    pub(super) fn policy_arns(&self) -> Result<Vec<&str>, Error> {
        self.list("PolicyArns", "arn", 10)
    }
}

/// The name of a member as the models write it: `roleArn`.
fn member(name: &str) -> String {
    let mut chars = name.chars();
    chars.next().map(|first| first.to_ascii_lowercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn read(form: &str) -> Params {
        Params::read("", form.as_bytes()).unwrap()
    }

    #[test]
    fn parameters_come_from_query_and_form_and_only_once() {
        let params = Params::read("Action=A&x=%2B+1", b"y=2&Version=V").unwrap();
        assert_eq!((params.get("x"), params.get("y"), params.get("z")), (Some("+ 1"), Some("2"), None));
        assert!(Params::read("x=1", b"x=1").unwrap_err().message.contains("x comes twice"));
        let many: String = (0..=MOST_PARAMS).map(|n| format!("p{n}=&")).collect();
        assert!(Params::read("", many.as_bytes()).unwrap_err().message.contains("more than 256"));
        Params::read("%ff=%00&=&&", &[b'a', 0xff, b'=', 0xfe]).unwrap();
    }

    proptest::proptest! {
        #[test]
        fn whatever_a_form_holds_is_read_or_refused(
            data: Vec<u8>,
            name in proptest::sample::select(vec!["RoleArn", "RoleSessionName", "Policy", "PolicyArns.member.1.arn", "Tags.member.1.Key", "DurationSeconds"]),
            value in "([a-z%é{}\":/0-9]{0,40}|%[0-9a-f]{2})",
            times in 1..4usize,
        ) {
            super::super::fuzz(&data);
            super::super::fuzz(format!("Action=AssumeRole\n{}", format!("{name}={value}&").repeat(times)).as_bytes());
        }
    }

    #[test]
    fn rules_name_the_member() {
        let name = |form: &str| read(form).needed("RoleSessionName", 2..=64, Some(SESSION_NAME)).map(str::to_owned);
        assert_eq!(name("RoleSessionName=gate@x-1").unwrap(), "gate@x-1");
        let start = "1 validation error detected: Value";
        let must = "failed to satisfy constraint: Member must";
        assert_eq!(name("").unwrap_err().message, format!("{start} null at 'roleSessionName' {must} not be null"));
        let short = name("RoleSessionName=a").unwrap_err();
        assert_eq!(
            (short.code, short.message),
            (
                "ValidationError",
                format!("{start} 'a' at 'roleSessionName' {must} have length greater than or equal to 2")
            )
        );
        assert!(name(&format!("RoleSessionName={}", "a".repeat(65))).unwrap_err().message.ends_with("equal to 64"));
        assert!(name("RoleSessionName=a%2Fb").unwrap_err().message.ends_with("pattern: [\\w+=,.@-]*"));
        assert!(name("RoleSessionName=%C3%A9%C3%A9").is_err(), "letters are those of ASCII");
    }

    #[test]
    fn durations_have_bounds() {
        let duration = |text: &str| read(&format!("DurationSeconds={text}")).duration(900..=43_200);
        assert_eq!(read("").duration(900..=43_200), Ok(None));
        assert_eq!((duration("900"), duration("43200")), (Ok(Some(900)), Ok(Some(43_200))));
        for (text, rule) in [
            ("899", "greater than or equal to 900"),
            ("-1", "greater than or equal to 900"),
            ("43201", "less than or equal to 43200"),
            ("9999999999999", "less than or equal to 43200"),
            ("1h", "an integer"),
            ("", "an integer"),
        ] {
            let error = duration(text).unwrap_err();
            assert!(error.message.ends_with(rule), "{text}: {}", error.message);
        }
    }

    #[test]
    fn tags_are_numbered_and_named_once() {
        let tags = |form: &str| read(form).tags();
        let two = "Tags.member.1.Key=a&Tags.member.1.Value=1&Tags.member.2.Key=b&Tags.member.2.Value=";
        assert_eq!(tags(two).unwrap(), [("a".to_owned(), "1".to_owned()), ("b".to_owned(), String::new())].into());
        for wrong in [
            "Tags.member.2.Key=a&Tags.member.2.Value=1",
            "Tags.member.1.Key=a",
            "Tags.member.1.Key=&Tags.member.1.Value=1",
            "Tags.member.1.Key=a&Tags.member.1.Value=1&Tags.member.2.Key=A&Tags.member.2.Value=2",
        ] {
            assert!(tags(wrong).is_err(), "{wrong}");
        }
        let many: String = (1..=51).map(|n| format!("Tags.member.{n}.Key=k{n}&Tags.member.{n}.Value=v&")).collect();
        assert!(tags(&many).is_err());
        assert!(read("SerialNumber=1").without(&["SerialNumber"]).is_err());
        assert!(read("TransitiveTagKeys.member.1=a").without(&["TransitiveTagKeys"]).is_err());
        read("Other=1").without(&["SerialNumber"]).unwrap();
    }
}
