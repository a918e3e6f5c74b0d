//! Diagnostics as people read them: the place in the spec, and what to do.

use std::fmt::Write as _;

use annotate_snippets::renderer::DecorStyle;
use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::diagnostic::{Diagnostic, Location, Severity};
use crate::source::{Source, Span};

/// How wide a snippet may be, in characters.
const WIDTH: usize = 120;
/// Nobody reads more findings than this; the rest is counted.
const FINDINGS_MAX: usize = 100;

/// With or without terminal colours; the words are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Text only.
    Plain,
    /// With ANSI colours.
    Colour,
}

/// All diagnostics, each with its place in the spec, separated by blank lines. Without a source (the file could
/// not be read) there are no places.
pub fn human(source: Option<&Source>, diagnostics: &[Diagnostic], style: Style) -> String {
    let renderer = match style {
        Style::Plain => Renderer::plain(),
        Style::Colour => Renderer::styled().hyperlink(false),
    };
    let renderer = renderer.term_width(WIDTH).decor_style(DecorStyle::Ascii);
    let rendered: Vec<String> =
        diagnostics.iter().take(FINDINGS_MAX).map(|diagnostic| one(&renderer, source, diagnostic)).collect();
    let mut text = rendered.join("\n\n");
    if !text.is_empty() {
        text.push('\n');
    }
    if let Some(more) = diagnostics.len().checked_sub(FINDINGS_MAX).filter(|more| *more > 0) {
        writeln!(text, "\n... and {more} more findings").expect("writing to a string cannot fail");
    }
    text
}

fn one(renderer: &Renderer, source: Option<&Source>, diagnostic: &Diagnostic) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let title = level.primary_title(diagnostic.message.as_str()).id(diagnostic.code.to_string());
    let mut report: Vec<Group<'_>> = Vec::new();
    match source {
        Some(source) => match diagnostic.location.span(source) {
            Some(span) => report.push(title.element(snippet(source, diagnostic, span))),
            None => report.push(title.element(Origin::path(source.name()))),
        },
        None => report.push(Group::with_title(title)),
    }
    let explain = format!("see `seaworthy explain {}`", diagnostic.code);
    let help = diagnostic.help.as_ref().map_or_else(|| explain.clone(), |help| format!("{help}; {explain}"));
    report.push(Group::with_title(Level::HELP.secondary_title(help)));
    renderer.render(&report)
}

fn snippet<'a>(
    source: &'a Source,
    diagnostic: &'a Diagnostic,
    span: Span,
) -> Snippet<'a, annotate_snippets::Annotation<'a>> {
    let primary = (AnnotationKind::Primary, first_line(source, span), diagnostic.label.as_str());
    let secondary = diagnostic.secondary.iter().filter_map(|(location, label): &(Location, String)| {
        Some((AnnotationKind::Context, first_line(source, location.span(source)?), label.as_str()))
    });
    let marks: Vec<(AnnotationKind, Span, &str)> = std::iter::once(primary).chain(secondary).collect();
    // Only the lines between the marks: the renderer looks at all of the text it is given.
    let text = source.text();
    let first = marks.iter().map(|(_, span, _)| span.start).min().unwrap_or(0);
    let last = marks.iter().map(|(_, span, _)| span.end).max().unwrap_or(0);
    let start = text[..first].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[last..].find('\n').map_or(text.len(), |newline| last + newline);
    let annotations = marks.into_iter().map(|(kind, span, label)| {
        let annotation = kind.span(span.start - start..span.end - start);
        if label.is_empty() { annotation } else { annotation.label(label) }
    });
    Snippet::source(&text[start..end])
        .line_start(source.place(start).line as usize)
        .path(source.name())
        .annotations(annotations)
}

/// A span over several lines is shown by its first one: the reader needs the place, not the whole block.
fn first_line(source: &Source, span: Span) -> Span {
    let (start, end) = (source.boundary(span.start), source.boundary(span.end));
    let text = &source.text()[start..end.max(start)];
    let length = text.find('\n').map_or(text.len(), |newline| text[..newline].trim_end().len());
    Span::new(start, start + length)
}
