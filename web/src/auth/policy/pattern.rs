//! Patterns of policies: literal text, `*`, `?` and policy variables.

use super::Context;

/// The most units (characters or wildcards) that a pattern may have once its variables are filled in.
const MOST_UNITS: usize = 4096;

/// A pattern as it stands in a policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pattern(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// `*`
    Many,
    /// `?`
    One,
    /// `${key}` or `${key, 'default'}`
    Variable(String, Option<String>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Char(char),
    Many,
    One,
}

impl Pattern {
    /// Reads a pattern; `variables` where the policy's version knows them. Errors say what is wrong with it.
    pub(super) fn parse(text: &str, variables: bool) -> Result<Pattern, String> {
        if text.len() > MOST_UNITS {
            return Err(format!("a value has {} bytes, more than {MOST_UNITS}", text.len()));
        }
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            if variables && let Some(inner) = rest.strip_prefix("${") {
                let (name, after) =
                    inner.split_once('}').ok_or_else(|| format!("{text:?} begins a variable and does not end it"))?;
                rest = after;
                // Ways to write the special characters themselves.
                if let "*" | "?" | "$" = name {
                    literal.push_str(name);
                    continue;
                }
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal)));
                }
                parts.push(variable(name).ok_or_else(|| format!("{text:?} has a variable that cannot be read"))?);
                continue;
            }
            rest = &rest[c.len_utf8()..];
            let special = match c {
                '*' => Part::Many,
                '?' => Part::One,
                _ => {
                    literal.push(c);
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            // Two in a row say no more than one.
            if !(special == Part::Many && parts.last() == Some(&Part::Many)) {
                parts.push(special);
            }
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Pattern(parts))
    }

    /// The text, where it depends on nothing.
    pub(super) fn literal(&self) -> Option<String> {
        match self.0.iter().any(|part| matches!(part, Part::Variable(..))) {
            true => None,
            false => self.text(&Context::default()),
        }
    }

    /// Whether the pattern names a context key that begins so (in lower case).
    pub(super) fn names(&self, prefix: &str) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Variable(key, _) if key.starts_with(prefix)))
    }

    /// Whether a text matches. A variable that has no single value and no default matches nothing.
    pub(super) fn matches(&self, text: &str, context: &Context, fold_case: bool) -> bool {
        match self.0.as_slice() {
            [] => text.is_empty(),
            [Part::Many] => true,
            [Part::Text(literal)] if !fold_case => literal == text,
            _ => self.units(context).is_some_and(|units| glob(&units, text, fold_case)),
        }
    }

    /// As [`Pattern::matches`] for ARNs: each of the six parts between colons by itself.
    pub(super) fn matches_arn(&self, text: &str, context: &Context) -> bool {
        let Some(units) = self.units(context) else { return false };
        let mut patterns = units.splitn(6, |unit| *unit == Unit::Char(':'));
        let mut parts = text.splitn(6, ':');
        loop {
            match (patterns.next(), parts.next()) {
                (None, None) => return true,
                (Some(pattern), Some(part)) if glob(pattern, part, false) => {}
                _ => return false,
            }
        }
    }

    /// The text with variables filled in and wildcards as plain characters: for operators that know no wildcards.
    pub(super) fn text(&self, context: &Context) -> Option<String> {
        let mut text = String::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => text.push_str(literal),
                Part::Many => text.push('*'),
                Part::One => text.push('?'),
                Part::Variable(key, default) => text.push_str(context.single(key).or(default.as_deref())?),
            }
        }
        Some(text)
    }

    fn units(&self, context: &Context) -> Option<Vec<Unit>> {
        let mut units = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(literal) => units.extend(literal.chars().map(Unit::Char)),
                Part::Many => units.push(Unit::Many),
                Part::One => units.push(Unit::One),
                // What a variable holds is text: wildcards in it are not wildcards.
                Part::Variable(key, default) => {
                    units.extend(context.single(key).or(default.as_deref())?.chars().map(Unit::Char));
                }
            }
        }
        (units.len() <= MOST_UNITS).then_some(units)
    }
}

/// `key` or `key, 'default'`.
fn variable(text: &str) -> Option<Part> {
    let (key, default) = match text.split_once(',') {
        None => (text, None),
        Some((key, default)) => {
            let default = default.trim().strip_prefix('\'')?.strip_suffix('\'')?;
            (key, Some(default.to_owned()))
        }
    };
    let key = key.trim();
    (!key.is_empty()).then(|| Part::Variable(key.to_ascii_lowercase(), default))
}

/// Matches without recursion: on a mismatch the last `*` takes one character more.
fn glob(pattern: &[Unit], text: &str, fold_case: bool) -> bool {
    let same = |a: char, b: char| a == b || (fold_case && a.eq_ignore_ascii_case(&b));
    let (mut at, mut rest) = (0, text.chars());
    let mut retry: Option<(usize, std::str::Chars<'_>)> = None;
    loop {
        let mut next = rest.clone();
        let fits = match (pattern.get(at), next.next()) {
            (Some(Unit::Many), _) => {
                at += 1;
                if at == pattern.len() {
                    return true;
                }
                retry = Some((at, rest.clone()));
                continue;
            }
            (None, None) => return true,
            (Some(Unit::One), Some(_)) => true,
            (Some(Unit::Char(p)), Some(c)) => same(*p, c),
            (Some(_), None) => return false,
            (None, Some(_)) => false,
        };
        if fits {
            (at, rest) = (at + 1, next);
            continue;
        }
        let Some((after_star, from)) = &mut retry else { return false };
        from.next();
        (at, rest) = (*after_star, from.clone());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        let mut context = Context::default();
        context.set("aws:username", "gate");
        context.set("aws:star", "*");
        Pattern::parse(pattern, true).unwrap().matches(text, &context, false)
    }

    #[test]
    fn wildcards_match_as_expected() {
        for (pattern, text) in [
            ("", ""),
            ("*", ""),
            ("a", "a"),
            ("a*", "a"),
            ("*a", "bcaa"),
            ("a?c", "aéc"),
            ("*ab*ab", "ababab"),
            ("**", "x"),
            ("stream/*/1*", "stream/a/b/123"),
            ("${aws:username}/*", "gate/1"),
            ("${AWS:UserName}", "gate"),
            ("${aws:nobody, 'someone'}", "someone"),
            ("${*}${?}${$}", "*?$"),
            ("${aws:star}", "*"),
        ] {
            assert!(matches(pattern, text), "{pattern} {text}");
        }
        for (pattern, text) in [
            ("", "a"),
            ("a", "A"),
            ("a", "ab"),
            ("?", ""),
            ("a*b", "abc"),
            ("*ab*ab", "abba"),
            ("${aws:nobody}", ""),
            ("${aws:nobody}*", "anything"),
            ("${aws:star}", "anything"),
            ("${*}", "anything"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
    }

    #[test]
    fn older_policies_know_no_variables() {
        let pattern = Pattern::parse("${aws:username}", false).unwrap();
        assert!(pattern.matches("${aws:username}", &Context::default(), false));
        assert!(Pattern::parse("${aws:username", true).is_err() && Pattern::parse("${, 'x'}", true).is_err());
    }

    #[test]
    fn arns_match_part_by_part() {
        let matches = |pattern, text| Pattern::parse(pattern, true).unwrap().matches_arn(text, &Context::default());
        let arn = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate:7/1";
        assert!(matches("arn:*:kinesisvideo:*:*:stream/gate:?/*", arn) && matches(arn, arn));
        assert!(!matches("arn:aws:kinesisvideo:*:stream/gate/*", arn) && !matches("*", arn));
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = Pattern::parse(&"*a".repeat(1000), true).unwrap();
        assert!(!pattern.matches(&"a".repeat(999), &Context::default(), false));
    }
}
