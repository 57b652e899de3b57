#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;
use serde_json::json;

const GATE: &str = "arn:aws:kinesisvideo:us-east-1:123456789012:stream/gate/1795404896353";

fn context() -> Context {
    let mut context = Context::default();
    context.set("aws:username", "gate");
    context.set("vidicon:device", "gate");
    context.set("aws:SourceIp", "192.0.2.7");
    context.set("aws:SecureTransport", "false");
    context.set("aws:CurrentTime", "2026-11-23T09:30:00.000Z");
    context.set("aws:EpochTime", "1795426200");
    context.set("aws:PrincipalArn", "arn:aws:iam::123456789012:user/gate");
    context.set("aws:ResourceTag/Team", "blue");
    context.add("aws:TagKeys", "team");
    context.add("aws:TagKeys", "cost");
    context
}

fn verdict(document: &Value, action: &str, resource: &str) -> Verdict {
    let policy = Policy::parse(&document.to_string()).unwrap();
    policy.evaluate(Asked { action, resource, context: &context() })
}

fn allow(more: Value) -> Value {
    let mut statement = json!({"Effect": "Allow", "Action": "kinesisvideo:*", "Resource": "*"});
    statement.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"Version": "2012-10-17", "Statement": statement})
}

fn holds(condition: Value) -> bool {
    let document = allow(json!({"Condition": condition}));
    verdict(&document, "kinesisvideo:GetMedia", GATE) == Verdict::Allow
}

#[test]
fn actions_and_resources_select() {
    let cases = [
        (json!({}), Verdict::Allow),
        (json!({"Action": "kinesisvideo:getmedia"}), Verdict::Allow),
        (json!({"Action": ["kinesisvideo:Put*", "kinesisvideo:Get?edia"]}), Verdict::Allow),
        (json!({"Action": "vidicon:*"}), Verdict::Silent),
        (json!({"Resource": "arn:aws:kinesisvideo:*:*:stream/gate/*"}), Verdict::Allow),
        (json!({"Resource": "arn:aws:kinesisvideo:*:*:stream/${aws:username}/*"}), Verdict::Allow),
        (json!({"Resource": "arn:aws:kinesisvideo:*:*:stream/${aws:userid}/*"}), Verdict::Silent),
        (json!({"Resource": "arn:aws:kinesisvideo:*:*:stream/GATE/*"}), Verdict::Silent),
        (json!({"Resource": ["arn:aws:kinesisvideo:*:*:stream/yard/*", GATE]}), Verdict::Allow),
        (json!({"Effect": "Deny"}), Verdict::Deny),
        (json!({"Effect": "Deny", "Action": "kinesisvideo:PutMedia"}), Verdict::Silent),
    ];
    for (more, expected) in cases {
        assert_eq!(verdict(&allow(more.clone()), "kinesisvideo:GetMedia", GATE), expected, "{more}");
    }
    let not = |action: Value, resource: Value| {
        let statement = json!({"Effect": "Allow", "NotAction": action, "NotResource": resource});
        verdict(&json!({"Statement": [statement]}), "kinesisvideo:GetMedia", GATE)
    };
    assert_eq!(not(json!("kinesisvideo:Put*"), json!("arn:aws:s3:::*")), Verdict::Allow);
    assert_eq!(not(json!("kinesisvideo:Get*"), json!("arn:aws:s3:::*")), Verdict::Silent);
    assert_eq!(not(json!("kinesisvideo:Put*"), json!(GATE)), Verdict::Silent);
}

#[test]
fn an_explicit_deny_wins_wherever_it_stands() {
    let read = |document: Value| Arc::new(Policy::parse(&document.to_string()).unwrap());
    let (allows, denies) = (read(allow(json!({}))), read(allow(json!({"Effect": "Deny"}))));
    let puts = read(allow(json!({"Action": "kinesisvideo:PutMedia"})));
    let context = context();
    let asked = Asked { action: "kinesisvideo:GetMedia", resource: GATE, context: &context };
    let decided = |policies: &[&Arc<Policy>], session: Option<&[Arc<Policy>]>| {
        decide(&policies.iter().map(|p| (*p).clone()).collect::<Vec<_>>(), session, asked).is_ok()
    };
    assert!(decided(&[&allows], None) && decided(&[&puts, &allows], None));
    assert!(!decided(&[], None) && !decided(&[&puts], None));
    assert!(!decided(&[&allows, &denies], None) && !decided(&[&denies, &allows], None));
    // A session policy narrows, and never widens.
    assert!(decided(&[&allows], Some(std::slice::from_ref(&allows))));
    assert!(!decided(&[&allows], Some(std::slice::from_ref(&puts))));
    assert!(!decided(&[&allows], Some(&[allows.clone(), denies.clone()])));
    assert!(!decided(&[&allows], Some(&[])));
    assert!(!decided(&[&puts], Some(&[allows])));
}

#[test]
fn operators_of_conditions() {
    let yes = [
        json!({"StringEquals": {"aws:username": "gate"}}),
        json!({"StringEquals": {"AWS:UserName": ["yard", "gate"]}}),
        json!({"StringNotEquals": {"aws:username": "yard"}}),
        json!({"StringNotEquals": {"aws:missing": "yard"}}),
        json!({"StringEqualsIgnoreCase": {"aws:username": "GATE"}}),
        json!({"StringLike": {"aws:username": "g?t*"}}),
        json!({"StringNotLike": {"aws:username": ["y*", "z*"]}}),
        json!({"StringEquals": {"aws:ResourceTag/team": "blue"}}),
        json!({"StringEquals": {"aws:username": "${vidicon:device}"}}),
        json!({"StringEqualsIfExists": {"aws:missing": "x", "aws:username": "gate"}}),
        json!({"NumericLessThan": {"aws:EpochTime": 1_795_426_201}}),
        json!({"NumericGreaterThanEquals": {"aws:EpochTime": "1795426200"}}),
        json!({"NumericNotEquals": {"aws:EpochTime": "1"}}),
        json!({"DateGreaterThan": {"aws:CurrentTime": "2026-11-23T09:29:59Z"}}),
        json!({"DateLessThanEquals": {"aws:CurrentTime": "2026-11-23T10:30:00+01:00"}}),
        json!({"DateLessThan": {"aws:EpochTime": "2030-01-01"}}),
        json!({"Bool": {"aws:SecureTransport": false}}),
        json!({"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.0/24"]}}),
        json!({"NotIpAddress": {"aws:SourceIp": "192.0.2.8"}}),
        json!({"ArnLike": {"aws:PrincipalArn": "arn:aws:iam::*:user/g*"}}),
        json!({"ArnNotEquals": {"aws:PrincipalArn": "arn:aws:iam::*:role/*"}}),
        json!({"Null": {"aws:missing": "true", "aws:username": "false"}}),
        json!({"ForAnyValue:StringEquals": {"aws:TagKeys": ["cost", "other"]}}),
        json!({"ForAllValues:StringEquals": {"aws:TagKeys": ["cost", "team", "other"]}}),
        json!({"ForAllValues:StringEquals": {"aws:missing": "x"}}),
        json!({"ForAllValues:StringNotLike": {"aws:TagKeys": "x*"}}),
    ];
    for condition in yes {
        assert!(holds(condition.clone()), "{condition}");
    }
    let no = [
        json!({"StringEquals": {"aws:username": "Gate"}}),
        json!({"StringEquals": {"aws:username": "g*"}}),
        json!({"StringEquals": {"aws:missing": "x"}}),
        json!({"StringNotEquals": {"aws:username": ["yard", "gate"]}}),
        json!({"StringEquals": {"aws:username": "gate", "aws:SourceIp": "10.0.0.1"}}),
        json!({"StringEquals": {"aws:username": "gate"}, "Bool": {"aws:SecureTransport": "true"}}),
        json!({"NumericLessThan": {"aws:EpochTime": "1795426200"}}),
        json!({"DateLessThan": {"aws:CurrentTime": "2026-11-23T09:29:59Z"}}),
        json!({"IpAddress": {"aws:SourceIp": "::/0"}}),
        json!({"NotIpAddress": {"aws:SourceIp": "192.0.2.0/24"}}),
        json!({"Null": {"aws:username": "true"}}),
        json!({"ForAnyValue:StringEquals": {"aws:TagKeys": "x"}}),
        json!({"ForAnyValue:StringNotEquals": {"aws:missing": "x"}}),
        json!({"ForAllValues:StringEquals": {"aws:TagKeys": "cost"}}),
        json!({"StringNotEquals": {"aws:TagKeys": "cost"}}),
    ];
    for condition in no {
        assert!(!holds(condition.clone()), "{condition}");
    }
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let wrong = [
        ("[]", "no JSON object"),
        ("{", "no JSON"),
        (r#"{"Statement":[]},"#, "no JSON"),
        (r#"{"Version":"2020-01-01","Statement":[]}"#, "Version"),
        (r#"{"Version":"2012-10-17"}"#, "Statement"),
        (r#"{"Statement":{"Effect":"allow","Action":"*","Resource":"*"}}"#, "Effect"),
        (r#"{"Statement":{"Effect":"Allow","Resource":"*"}}"#, "Action"),
        (r#"{"Statement":{"Effect":"Allow","Action":"*"}}"#, "Resource"),
        (r#"{"Statement":{"Effect":"Allow","Action":[],"Resource":"*"}}"#, "Action"),
        (r#"{"Statement":{"Effect":"Allow","Action":{},"Resource":"*"}}"#, "Action"),
        (r#"{"Statement":{"Effect":"Allow","Action":"*","NotAction":"*","Resource":"*"}}"#, "NotAction"),
        (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Principal":"*"}}"#, "Principal"),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringIs":{"a":"b"}}}}"#,
            "StringIs",
        ),
        (
            r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"ForSome:Bool":{"a":"b"}}}}"#,
            "ForSome",
        ),
        (r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"Bool":{"a":{}}}}}"#, "no values"),
        (r#"{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny"}]}"#, "statement 2"),
        (r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"${aws:user"}}"#, "variable"),
    ];
    for (document, part) in wrong {
        let error = Policy::parse(document).unwrap_err();
        assert!(error.contains(part), "{document}: {error}");
    }
    let never_fit = [
        (json!({"Action": "GetMedia"}), r#"statement 1: Action: "GetMedia" lacks its service"#),
        (json!({"Action": ["kinesisvideo:*", ":GetMedia"]}), "statement 1: Action"),
        (json!({"Resource": "stream/gate/*"}), r#"statement 1: Resource: "stream/gate/*" is neither"#),
        (json!({"Resource": ""}), "statement 1: Resource"),
    ];
    for (more, part) in never_fit {
        let error = Policy::parse(&allow(more.clone()).to_string()).unwrap_err();
        assert!(error.contains(part), "{more}: {error}");
    }
    let values = [
        ("NumericEquals", "aws:EpochTime", "NaN"),
        ("NumericLessThan", "aws:EpochTime", "many"),
        ("DateLessThanIfExists", "aws:CurrentTime", "no date"),
        ("IpAddress", "aws:SourceIp", "192.0.2.0/33"),
        ("ArnLike", "aws:PrincipalArn", "*"),
        ("Bool", "aws:SecureTransport", "yes"),
        ("Null", "aws:username", "no"),
    ];
    for (operator, key, value) in values {
        let more = json!({"Condition": {operator: {key: ["${aws:username}", value]}}});
        let error = Policy::parse(&allow(more).to_string()).unwrap_err();
        let expected = format!("statement 1: Condition: {operator}: {key}: {value:?} is not ");
        assert!(error.starts_with(&expected), "{error}");
    }
    let long = format!(r#"{{"Statement":[],"Id":"{}"}}"#, "x".repeat(MOST_BYTES));
    assert!(Policy::parse(&long).is_err());
}

#[test]
fn trust_policies_say_who_may_take_on_a_role() {
    let trust = |principal: Value| {
        let statement = json!({"Effect": "Allow", "Principal": principal, "Action": "sts:AssumeRole"});
        Policy::parse_trust(&json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()).unwrap()
    };
    let context = context();
    let trusts = |principal: Value, who: Who<'_>| {
        let asked = Asked { action: "sts:AssumeRole", resource: "*", context: &context };
        trust(principal).evaluate_trust(who, asked) == Verdict::Allow
    };
    let gate = Who::Arn { arns: &["arn:aws:iam::123456789012:user/gate"], account: "123456789012" };
    for principal in [
        json!("*"),
        json!({"AWS": "*"}),
        json!({"AWS": "123456789012"}),
        json!({"AWS": "arn:aws:iam::123456789012:root"}),
        json!({"AWS": ["arn:aws:iam::123456789012:user/yard", "arn:aws:iam::123456789012:user/gate"]}),
    ] {
        assert!(trusts(principal.clone(), gate), "{principal}");
    }
    for principal in [
        json!({"AWS": "arn:aws:iam::123456789012:user/yard"}),
        json!({"AWS": "arn:aws:iam::123456789012:user/*"}),
        json!({"AWS": "210987654321"}),
        json!({"Federated": "*"}),
    ] {
        assert!(!trusts(principal.clone(), gate), "{principal}");
    }
    assert!(trusts(json!({"Federated": "idp.example"}), Who::Federated(&["idp.example"])));
    assert!(!trusts(json!({"Federated": "idp.example"}), Who::Federated(&["evil.example"])));
    let iot = Who::Service(IOT);
    assert!(trusts(json!({"Service": IOT}), iot) && trusts(json!({"Service": [IOT]}), iot));
    for other in [json!("*"), json!({"AWS": "*"}), json!({"Federated": "*"})] {
        assert!(!trusts(other.clone(), iot), "services are let in by name: {other}");
    }
    assert!(!trusts(json!({"Service": IOT}), gate) && !trusts(json!({"Service": IOT}), Who::Federated(&[IOT])));
    let service = json!({"Effect": "Allow", "Action": "sts:AssumeRole", "Principal": {"Service": "ec2.amazonaws.com"}});
    let error = Policy::parse_trust(&json!({"Statement": service}).to_string()).unwrap_err();
    assert!(error.starts_with("statement 1: Principal: Service"), "{error}");
    let read = |effect: &str, kind: &str, who: Value| {
        let statement = json!({"Effect": effect, "Action": "sts:AssumeRole", kind: who});
        Policy::parse_trust(&json!({"Statement": statement}).to_string()).unwrap()
    };
    let asked = Asked { action: "sts:AssumeRole", resource: "*", context: &context };
    let allowing = read("Allow", "NotPrincipal", json!({"AWS": "123456789012"}));
    assert_eq!(allowing.evaluate_trust(iot, asked), Verdict::Silent);
    for denying in [("Principal", json!("*")), ("NotPrincipal", json!({"AWS": "123456789012"}))] {
        assert_eq!(read("Deny", denying.0, denying.1).evaluate_trust(iot, asked), Verdict::Deny);
    }
    assert!(Policy::parse_trust(r#"{"Statement":{"Effect":"Allow","Action":"sts:AssumeRole"}}"#).is_err());
    // It grants its role nothing.
    let asked = Asked { action: "sts:AssumeRole", resource: "*", context: &context };
    assert_eq!(trust(json!("*")).evaluate(asked), Verdict::Silent);
}

#[test]
fn presets_allow_what_they_are_for() {
    let context = context();
    let may = |preset: &str, action: &str, resource: &str| {
        let policy = presets::policy(preset).unwrap();
        policy.evaluate(Asked { action, resource, context: &context }) == Verdict::Allow
    };
    let channel = |name: &str| format!("arn:aws:kinesisvideo:us-east-1:123456789012:channel/{name}/1");
    let yard = GATE.replace("gate", "yard");
    assert!(may("camera", "kinesisvideo:PutMedia", GATE) && !may("camera", "kinesisvideo:PutMedia", &yard));
    assert!(!may("camera", "kinesisvideo:GetMedia", GATE) && !may("camera", "kinesisvideo:DeleteStream", GATE));
    assert!(may("master", "kinesisvideo:ConnectAsMaster", &channel("gate")));
    assert!(!may("master", "kinesisvideo:ConnectAsMaster", &channel("yard")));
    assert!(may("viewer", "kinesisvideo:ConnectAsViewer", &channel("yard")));
    assert!(!may("viewer", "kinesisvideo:ConnectAsMaster", &channel("yard")));
    assert!(may("playback", "kinesisvideo:GetClip", &yard) && !may("playback", "kinesisvideo:GetMedia", &yard));
    assert!(may("analytics", "kinesisvideo:GetMedia", &yard) && !may("analytics", "kinesisvideo:PutMedia", &yard));
    assert!(may("admin", "vidicon:PutRule", "*"));
    for name in presets::NAMES {
        let read = Policy::parse(&presets::document(name).unwrap().to_string()).unwrap();
        assert_eq!(*presets::policy(name).unwrap(), read, "{name}");
        assert_eq!(name == "admin", may(name, "vidicon:CreateKey", "*"), "{name}");
    }
    assert!(presets::policy("owner").is_none());
}

#[test]
fn policies_tell_which_keys_they_look_at() {
    let names = |more: Value| Policy::parse(&allow(more).to_string()).unwrap().names("aws:resourcetag/");
    assert!(!names(json!({})));
    assert!(names(json!({"Condition": {"StringEquals": {"aws:ResourceTag/a": "b"}}})));
    assert!(names(json!({"Condition": {"StringEquals": {"aws:username": "${aws:ResourceTag/a}"}}})));
    assert!(names(json!({"Resource": "arn:x:${aws:ResourceTag/a}"})));
}

proptest! {
    #[test]
    fn whatever_comes(data in prop::collection::vec(any::<u8>(), 0..300)) {
        fuzz(&data);
    }

    /// Documents that are nearly policies.
    #[test]
    fn whatever_comes_in_shape(effect in "Allow|Deny|x", action in "[*?a:$\\{\\}]{0,8}", resource in "[*?a:/$\\{\\}']{0,12}", operator in "(ForAnyValue:|ForAllValues:|)(StringLike|NumericLessThan|DateEquals|IpAddress|ArnLike|Null|Bool)(IfExists|)", key in "aws:(username|TagKeys|x)", value in "[*?a0-9./:$\\{\\}-]{0,12}", asked in "[a:/]{0,12}") {
        let statement = json!({"Effect": effect, "Action": action, "Resource": resource, "Condition": {operator: {key: value}}});
        fuzz(format!("{asked}\n{asked}\n{}", json!({"Version": "2012-10-17", "Statement": statement})).as_bytes());
    }
}
