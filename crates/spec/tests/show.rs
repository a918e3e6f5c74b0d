use seaworthy_spec::{parse, plan_text, render};
#[test]
fn show() {
    let file = std::env::var("SPEC").unwrap_or("tests/good/tickets.yaml".into());
    let outcome = seaworthy_spec::load(std::path::Path::new(&file));
    println!("{}", render::human(outcome.source.as_ref(), &outcome.diagnostics, render::Style::Plain));
    if let Some(plan) = &outcome.plan {
        println!("{}", plan_text(plan));
        println!("{plan:#?}");
    }
    let _ = parse("", "");
}
