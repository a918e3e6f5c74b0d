//! Reading: the library's events become a tree, and what is legal YAML but not allowed here is reported.

use serde_saphyr::granit_parser::{
    Event, Marker, Parser, ScalarStyle, ScanError, Span as Marks, StrInput, StructureStyle, options,
};

use super::node::{MERGE, Name, Node, NodeValue, Scalar, ScalarKind};
use super::refuse::{in_our_words, not_text, old_boolean, too_deep};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, quoted};
use crate::source::{Source, Span};

/// The largest spec that is read, in bytes.
pub const SIZE_MAX: usize = 1 << 20;
/// The deepest nesting of lists and mappings.
pub const DEPTH_MAX: usize = 64;

/// Reads bytes as they came from disk. The tree is `None` when nothing useful can be said about its content;
/// then there is at least one diagnostic.
pub(crate) fn read(name: &str, bytes: &[u8]) -> (Source, Option<Node>, Vec<Diagnostic>) {
    if bytes.len() > SIZE_MAX {
        let message = format!("the spec has {} bytes, more than the {SIZE_MAX} that are read", bytes.len());
        let problem = Diagnostic::new(Code::TooLarge, Span::default(), message)
            .help("a spec is written by people; check that this is the right file");
        // The text is left out: nobody needs a snippet of it.
        return (Source::lossy(name, &[]), None, vec![problem]);
    }
    let source = Source::lossy(name, bytes);
    if let Some(problem) = not_text(&source, bytes) {
        return (source, None, vec![problem]);
    }
    let mut reader = Reader::new(&source);
    let root = reader.document();
    let problems = reader.problems;
    (source, root, problems)
}

struct Reader<'a> {
    source: &'a Source,
    parser: Parser<'a, StrInput<'a>>,
    /// Byte offset of every character; empty when the text is ASCII, where both are the same.
    offsets: Vec<usize>,
    problems: Vec<Diagnostic>,
}

/// Why reading ended early; the diagnostic is already filed.
struct Stopped;

impl<'a> Reader<'a> {
    fn new(source: &'a Source) -> Self {
        let text = source.text();
        let offsets =
            if text.is_ascii() { Vec::new() } else { text.char_indices().map(|(at, _)| at).collect() };
        let limit = DEPTH_MAX + 1;
        let options = options! {
            emit_comments: false,
            emit_unresolved_aliases: true,
            flow_nesting_limit: limit,
            block_nesting_limit: limit,
        };
        Self {
            source,
            parser: Parser::new_from_str_with_options(text, options),
            offsets,
            problems: Vec::new(),
        }
    }

    fn document(&mut self) -> Option<Node> {
        let mut root = None;
        while let Ok(Some((event, marks))) = self.next() {
            match event {
                Event::DocumentStart(..) if root.is_some() => {
                    let span = self.span(marks);
                    let problem = Diagnostic::new(Code::ManyDocuments, span, "a second document starts here")
                        .label("only the first one would count")
                        .help("keep one spec per file");
                    self.problems.push(problem);
                    break;
                }
                Event::StreamStart | Event::DocumentStart(..) | Event::DocumentEnd => {}
                Event::StreamEnd => break,
                event => match self.node(event, marks, 0) {
                    Ok(node) => root = Some(node),
                    Err(Stopped) => return None,
                },
            }
        }
        if self.problems.iter().any(|problem| problem.code == Code::Syntax || problem.code == Code::Tab) {
            return None;
        }
        let is_empty = match &root {
            None => true,
            Some(Node { value: NodeValue::Scalar(scalar), .. }) => scalar.kind() == ScalarKind::Null,
            Some(_) => false,
        };
        if is_empty && self.problems.is_empty() {
            let problem = Diagnostic::new(Code::Empty, Span::default(), "the spec is empty")
                .without_snippet()
                .help("`seaworthy init` writes one to start from");
            self.problems.push(problem);
            return None;
        }
        root
    }

    fn next(&mut self) -> Result<Option<(Event<'a>, Marks)>, Stopped> {
        match self.parser.next_event() {
            None => Ok(None),
            Some(Ok(next)) => Ok(Some(next)),
            Some(Err(error)) => {
                let problem = self.syntax(&error);
                self.problems.push(problem);
                Err(Stopped)
            }
        }
    }

    /// The events between the start of a collection and its end; never `None`, the parser sees to that.
    fn expect_next(&mut self) -> Result<(Event<'a>, Marks), Stopped> {
        self.next()?.ok_or(Stopped)
    }

    fn node(&mut self, event: Event<'a>, marks: Marks, depth: usize) -> Result<Node, Stopped> {
        let span = self.span(marks);
        if depth > DEPTH_MAX {
            self.problems.push(too_deep(span));
            return Err(Stopped);
        }
        let tagged = match &event {
            Event::Scalar(_, _, anchor, tag)
            | Event::SequenceStart(_, anchor, tag)
            | Event::MappingStart(_, anchor, tag) => {
                self.refuse_anchor(*anchor, span);
                tag.is_some()
            }
            _ => false,
        };
        if tagged {
            let tag = marks.tag_start.map_or(span, |start| self.word_at(start));
            self.problems.push(
                Diagnostic::new(Code::Tag, tag, "tags are not allowed")
                    .label("a tag changes what the value means")
                    .help("write the value without it; quotes make text of anything"),
            );
        }
        match event {
            Event::Scalar(text, style, ..) => {
                let scalar = Scalar { text: text.into_owned(), plain: style == ScalarStyle::Plain };
                Ok(Node { span, value: NodeValue::Scalar(scalar) })
            }
            Event::SequenceStart(style, ..) => self.sequence(style, span, depth),
            Event::MappingStart(style, ..) => self.mapping(style, span, depth),
            Event::Alias(_) | Event::UnresolvedAlias(_) => {
                self.problems.push(
                    Diagnostic::new(Code::Anchor, span, "aliases are not allowed")
                        .label("the value stands somewhere else")
                        .help("write the value out; what stands here is what counts"),
                );
                Ok(Node { span, value: NodeValue::Invalid })
            }
            _ => Ok(Node { span, value: NodeValue::Invalid }),
        }
    }

    fn refuse_anchor(&mut self, anchor: usize, span: Span) {
        if anchor != 0 {
            // The event does not say where the anchor stands; it is the last `&word` before the value.
            let before = &self.source.text()[..span.start];
            let line = before.rfind('\n').map_or(0, |newline| newline + 1);
            let place = before[line..].rfind('&').map_or(span, |at| Span::new(line + at, span.start));
            let text = &self.source.text()[place.start..place.end];
            let place = Span::new(place.start, place.start + text.trim_end().len());
            self.problems.push(
                Diagnostic::new(Code::Anchor, place, "anchors are not allowed")
                    .label("a value that is used elsewhere")
                    .help("write the value out wherever it is needed"),
            );
        }
    }

    fn sequence(&mut self, style: StructureStyle, start: Span, depth: usize) -> Result<Node, Stopped> {
        let mut items: Vec<Node> = Vec::new();
        loop {
            let (event, marks) = self.expect_next()?;
            if matches!(event, Event::SequenceEnd) {
                let end = items.last().map(|item| item.span);
                let span = self.collection(style, start, end, marks);
                return Ok(Node { span, value: NodeValue::Sequence(items) });
            }
            items.push(self.node(event, marks, depth + 1)?);
        }
    }

    fn mapping(&mut self, style: StructureStyle, start: Span, depth: usize) -> Result<Node, Stopped> {
        let mut entries: Vec<(Name, Node)> = Vec::new();
        // Keys seen, by text, so that a large mapping does not cost the square of its size.
        let mut seen: std::collections::BTreeMap<String, Span> = std::collections::BTreeMap::new();
        loop {
            let (event, marks) = self.expect_next()?;
            if matches!(event, Event::MappingEnd) {
                let end = entries.last().map(|(_, value)| value.span);
                let span = self.collection(style, start, end, marks);
                return Ok(Node { span, value: NodeValue::Mapping(entries) });
            }
            let key = self.node(event, marks, depth + 1)?;
            let (event, marks) = self.expect_next()?;
            let value = self.node(event, marks, depth + 1)?;
            let place = key.span;
            let Some(name) = self.key(key) else {
                // Whoever reads this mapping must know that something is missing from it.
                let name = Name { text: MERGE.to_owned(), span: place };
                entries.push((name, Node { span: place, value: NodeValue::Invalid }));
                continue;
            };
            if let Some(first) = seen.get(&name.text) {
                let message = format!("the key {} is given twice", quoted(&name.text));
                self.problems.push(
                    Diagnostic::new(Code::DuplicateKey, name.span, message)
                        .label("again here")
                        .also(*first, "first here")
                        .help("keep one of them"),
                );
                continue;
            }
            seen.insert(name.text.clone(), name.span);
            entries.push((name, value));
        }
    }

    fn key(&mut self, node: Node) -> Option<Name> {
        let NodeValue::Scalar(scalar) = node.value else {
            if node.value != NodeValue::Invalid {
                self.problems.push(
                    Diagnostic::new(Code::KeyNotText, node.span, "a key must be a word")
                        .label("this is a list or a mapping")
                        .help("check the braces and the indentation"),
                );
            }
            return None;
        };
        if scalar.plain && scalar.text == MERGE {
            self.problems.push(
                Diagnostic::new(Code::Anchor, node.span, "merge keys are not allowed")
                    .label("takes over keys that stand somewhere else")
                    .help("write the keys out; what stands here is what counts"),
            );
            return None;
        }
        if scalar.kind() == ScalarKind::OldBoolean {
            let quotes = format!("put quotes around it: `\"{}\"`", scalar.text);
            self.problems.push(old_boolean(&scalar.text, node.span).help(quotes));
            return None;
        }
        if scalar.kind() == ScalarKind::Null {
            self.problems.push(
                Diagnostic::new(Code::KeyNotText, node.span, "a key must be a word")
                    .label("there is nothing before the colon"),
            );
            return None;
        }
        Some(Name { text: scalar.text, span: node.span })
    }

    /// A flow collection ends at its bracket; a block collection at its last entry, not at the next key below it.
    fn collection(&self, style: StructureStyle, start: Span, last: Option<Span>, end: Marks) -> Span {
        match style {
            StructureStyle::Flow => start.to(self.span(end)),
            StructureStyle::Block => last.map_or(start, |last| start.to(last)),
        }
    }

    fn span(&self, marks: Marks) -> Span {
        Span::new(self.offset(marks.start), self.offset(marks.end))
    }

    fn offset(&self, mark: Marker) -> usize {
        let length = self.source.text().len();
        let offset = match mark.byte_offset() {
            Some(bytes) => bytes,
            None if self.offsets.is_empty() => mark.index(),
            None => self.offsets.get(mark.index()).copied().unwrap_or(length),
        };
        self.source.boundary(offset.min(length))
    }

    fn word_at(&self, mark: Marker) -> Span {
        let start = self.offset(mark);
        let rest = &self.source.text()[start..];
        Span::new(start, start + rest.find(char::is_whitespace).unwrap_or(rest.len()))
    }

    fn syntax(&self, error: &ScanError) -> Diagnostic {
        let text = self.source.text();
        let found = self.offset(*error.marker());
        // At the end of the text the place is the last thing that was written, not the emptiness after it.
        let is_end = text[found..].trim().is_empty();
        let offset = if is_end { text.trim_end().len() } else { found };
        let line_start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        if let Some(tab) = indent.find('\t') {
            let span = Span::new(line_start + tab, line_start + tab + 1);
            return Diagnostic::new(Code::Tab, span, "a tab in the indentation")
                .label("YAML indents with spaces only")
                .help("replace the tab by spaces");
        }
        if matches!(error.kind().to_string().as_str(), text if text.contains("nesting") || text.contains("recursion"))
        {
            return too_deep(Span::new(offset, offset + 1));
        }
        let width = text[offset..].chars().next().filter(|next| *next != '\n').map_or(0, char::len_utf8);
        let kind = error.kind().to_string();
        let (message, help) = in_our_words(&kind);
        Diagnostic::new(Code::Syntax, Span::new(offset, offset + width), message)
            .label("the reader got lost here")
            .help(help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All scalars with their texts in the source.
    fn scalars(text: &str) -> Vec<(String, String)> {
        fn collect(node: &Node, text: &str, found: &mut Vec<(String, String)>) {
            let at = |span: Span| text[span.start..span.end].to_owned();
            match &node.value {
                NodeValue::Scalar(scalar) => found.push((scalar.text.clone(), at(node.span))),
                NodeValue::Sequence(items) => items.iter().for_each(|item| collect(item, text, found)),
                NodeValue::Mapping(entries) => {
                    for (name, value) in entries {
                        found.push((name.text.clone(), at(name.span)));
                        collect(value, text, found);
                    }
                }
                NodeValue::Invalid => {}
            }
        }
        let (source, root, problems) = read("x", text.as_bytes());
        assert_eq!(problems, []);
        let mut found = Vec::new();
        collect(&root.expect("the text is sound"), source.text(), &mut found);
        found
    }

    #[test]
    fn spans_count_bytes_also_after_other_scripts() {
        let text = "größe: { ⛵: [ü, \"ein ⛵\", 'x'] } # ⛵\nnext: ↯ end\n\n列: z\n";
        let expected = [
            ("größe", "größe"),
            ("⛵", "⛵"),
            ("ü", "ü"),
            ("ein ⛵", "\"ein ⛵\""),
            ("x", "'x'"),
            ("next", "next"),
            ("↯ end", "↯ end"),
            ("列", "列"),
            ("z", "z"),
        ];
        assert_eq!(scalars(text), expected.map(|(value, source)| (value.to_owned(), source.to_owned())));
    }

    #[test]
    fn collections_end_with_their_last_entry() {
        let text = "a:\n  b: 1\n  c: [1,\n    2]\n\n# more\nd: 1\n";
        let (source, root, _) = read("x", text.as_bytes());
        let Some(Node { value: NodeValue::Mapping(entries), .. }) = root else { panic!("a mapping") };
        let span = entries[0].1.span;
        assert_eq!(&source.text()[span.start..span.end], "b: 1\n  c: [1,\n    2]");
    }

    #[test]
    fn everything_refused_is_told_at_once() {
        let text = "a: &x 1\nb: *x\na: 2\nc: !t 3\n<<: 4\n[k]: 5\noff: 6\nd: *nowhere\n";
        let (_, root, problems) = read("x", text.as_bytes());
        assert!(root.is_some());
        let codes: Vec<Code> = problems.into_iter().map(|problem| problem.code).collect();
        assert_eq!(
            codes,
            [
                Code::Anchor,
                Code::Anchor,
                Code::DuplicateKey,
                Code::Tag,
                Code::Anchor,
                Code::KeyNotText,
                Code::OldBoolean,
                Code::Anchor,
            ]
        );
    }

    #[test]
    fn size_and_depth_are_bounded() {
        let code = |text: &[u8]| read("x", text).2.first().map(|problem| problem.code);
        assert_eq!(code(&vec![b'#'; SIZE_MAX]), Some(Code::Empty));
        assert_eq!(code(&vec![b'#'; SIZE_MAX + 1]), Some(Code::TooLarge));
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(code(nested(DEPTH_MAX).as_bytes()), None);
        assert_eq!(code(nested(DEPTH_MAX + 2).as_bytes()), Some(Code::TooDeep));
    }
}
