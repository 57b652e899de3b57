//! The `Condition` element: operators over context keys.

use super::{Context, pattern::Pattern, strings};
use crate::auth::instant;
use serde_json::Value;
use std::net::IpAddr;

/// One key of one operator, with the values it is held against.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Condition {
    test: Test,
    /// Holds where the comparison does not.
    negated: bool,
    /// Holds where the key is missing.
    if_exists: bool,
    set: Set,
    /// In lower case: keys have no case.
    key: String,
    values: Vec<Pattern>,
}

/// How many of a key's values must fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    /// The key is expected to have one.
    Single,
    Any,
    All,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    String,
    StringFolded,
    Like,
    Numeric(Order),
    Date(Order),
    Bool,
    Ip,
    Arn,
    Null,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Order {
    fn holds<T: PartialOrd>(self, a: T, b: T) -> bool {
        match self {
            Order::Equal => a == b,
            Order::Less => a < b,
            Order::LessOrEqual => a <= b,
            Order::Greater => a > b,
            Order::GreaterOrEqual => a >= b,
        }
    }
}

impl Test {
    /// Refuses a value that could never fit: a condition that never holds would not deny what it is there to deny.
    fn takes(self, pattern: &Pattern) -> Result<(), String> {
        let Some(value) = pattern.literal() else { return Ok(()) };
        let (fits, wanted) = match self {
            Test::String | Test::StringFolded | Test::Like => (true, ""),
            Test::Numeric(_) => (value.trim().parse::<f64>().is_ok_and(f64::is_finite), "a number"),
            Test::Date(_) => (date(&value).is_some(), "a date such as 2026-01-31T08:00:00Z, nor seconds since 1970"),
            Test::Bool | Test::Null => {
                (["true", "false"].iter().any(|b| value.eq_ignore_ascii_case(b)), "true or false")
            }
            Test::Ip => (network(&value).is_some(), "an address or a range such as 192.0.2.0/24"),
            Test::Arn => (value.splitn(6, ':').count() == 6, "an ARN, whose six parts colons separate"),
        };
        if fits { Ok(()) } else { Err(format!("{value:?} is not {wanted}")) }
    }
}

/// An operator without its prefix and suffix, and whether it is negated.
fn operator(name: &str) -> Option<(Test, bool)> {
    if let Some(order) = name.strip_prefix("Numeric") {
        return order_of(order).map(|(order, negated)| (Test::Numeric(order), negated));
    }
    if let Some(order) = name.strip_prefix("Date") {
        return order_of(order).map(|(order, negated)| (Test::Date(order), negated));
    }
    Some(match name {
        "StringEquals" => (Test::String, false),
        "StringNotEquals" => (Test::String, true),
        "StringEqualsIgnoreCase" => (Test::StringFolded, false),
        "StringNotEqualsIgnoreCase" => (Test::StringFolded, true),
        "StringLike" => (Test::Like, false),
        "StringNotLike" => (Test::Like, true),
        "Bool" => (Test::Bool, false),
        "IpAddress" => (Test::Ip, false),
        "NotIpAddress" => (Test::Ip, true),
        // The two are one, as in IAM.
        "ArnEquals" | "ArnLike" => (Test::Arn, false),
        "ArnNotEquals" | "ArnNotLike" => (Test::Arn, true),
        "Null" => (Test::Null, false),
        _ => return None,
    })
}

fn order_of(name: &str) -> Option<(Order, bool)> {
    Some(match name {
        "Equals" => (Order::Equal, false),
        "NotEquals" => (Order::Equal, true),
        "LessThan" => (Order::Less, false),
        "LessThanEquals" => (Order::LessOrEqual, false),
        "GreaterThan" => (Order::Greater, false),
        "GreaterThanEquals" => (Order::GreaterOrEqual, false),
        _ => return None,
    })
}

impl Condition {
    /// Reads a `Condition` element.
    pub(super) fn parse_all(value: &Value, variables: bool) -> Result<Vec<Condition>, String> {
        let operators = value.as_object().ok_or("Condition is no object")?;
        let mut conditions = Vec::new();
        for (name, keys) in operators {
            let (set, plain) = match name.split_once(':') {
                None => (Set::Single, name.as_str()),
                Some(("ForAnyValue", plain)) => (Set::Any, plain),
                Some(("ForAllValues", plain)) => (Set::All, plain),
                Some(_) => return Err(format!("Condition: there is no operator {name}")),
            };
            let (plain, if_exists) = plain.strip_suffix("IfExists").map_or((plain, false), |plain| (plain, true));
            let (test, negated) =
                operator(plain).ok_or_else(|| format!("Condition: the operator {name} is not known"))?;
            if test == Test::Null && (if_exists || set != Set::Single) {
                return Err(format!("Condition: {name} makes no sense"));
            }
            let keys = keys.as_object().ok_or_else(|| format!("Condition: {name} holds no object"))?;
            for (key, values) in keys {
                let values = strings(values).ok_or_else(|| format!("Condition: {name}: {key} has no values"))?;
                let read = |value: &String| {
                    let pattern = Pattern::parse(value, variables)?;
                    test.takes(&pattern).map(|()| pattern)
                };
                let values = values.iter().map(read).collect::<Result<_, _>>();
                let values = values.map_err(|e: String| format!("Condition: {name}: {key}: {e}"))?;
                conditions.push(Condition { test, negated, if_exists, set, key: key.to_ascii_lowercase(), values });
            }
        }
        Ok(conditions)
    }

    /// Whether it or its values name a context key that begins so (in lower case).
    pub(super) fn names(&self, prefix: &str) -> bool {
        self.key.starts_with(prefix) || self.values.iter().any(|value| value.names(prefix))
    }

    pub(super) fn holds(&self, context: &Context) -> bool {
        let given = context.all(&self.key);
        if self.test == Test::Null {
            let expected = if given.is_empty() { "true" } else { "false" };
            return self.values.iter().any(|v| v.text(context).is_some_and(|v| v.eq_ignore_ascii_case(expected)));
        }
        if given.is_empty() {
            return match self.set {
                _ if self.if_exists => true,
                Set::Single => self.negated,
                Set::Any => false,
                Set::All => true,
            };
        }
        let one = |given: &String| self.values.iter().any(|value| self.fits(given, value, context)) != self.negated;
        match self.set {
            Set::Any => given.iter().any(one),
            Set::All => given.iter().all(one),
            // A key that has several after all: the reading that allows less of a negated operator.
            Set::Single if self.negated => given.iter().all(one),
            Set::Single => given.iter().any(one),
        }
    }

    fn fits(&self, given: &str, value: &Pattern, context: &Context) -> bool {
        match self.test {
            Test::Like => return value.matches(given, context, false),
            Test::Arn => return value.matches_arn(given, context),
            _ => {}
        }
        let Some(wanted) = value.text(context) else { return false };
        match self.test {
            Test::String => given == wanted,
            Test::StringFolded => given.eq_ignore_ascii_case(&wanted),
            Test::Bool => given.eq_ignore_ascii_case(&wanted),
            Test::Numeric(order) => match (given.trim().parse::<f64>(), wanted.trim().parse::<f64>()) {
                (Ok(given), Ok(wanted)) => order.holds(given, wanted),
                _ => false,
            },
            Test::Date(order) => match (date(given), date(&wanted)) {
                (Some(given), Some(wanted)) => order.holds(given, wanted),
                _ => false,
            },
            Test::Ip => match (given.parse::<IpAddr>(), network(&wanted)) {
                (Ok(given), Some((network, bits))) => within(given.to_canonical(), network, bits),
                _ => false,
            },
            Test::Like | Test::Arn | Test::Null => false,
        }
    }
}

/// RFC 3339, or seconds since 1970.
fn date(text: &str) -> Option<i64> {
    let seconds = || text.parse::<i64>().ok().and_then(|s| s.checked_mul(1000));
    instant::parse_rfc3339(text).map(|at| at.0).or_else(seconds)
}

/// `192.0.2.0/24`, or an address alone.
fn network(text: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        Some(bits) => bits.parse().ok().filter(|bits| *bits <= most)?,
        None => most,
    };
    Some((address, bits))
}

fn within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => (u32::from(a) ^ u32::from(n)).leading_zeros() >= bits,
        (IpAddr::V6(a), IpAddr::V6(n)) => (u128::from(a) ^ u128::from(n)).leading_zeros() >= bits,
        _ => false,
    }
}
