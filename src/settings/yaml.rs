//! A YAML document as a small tree, in which every node has its line and column.
//!
//! It knows nothing about settings. Anchors, aliases and merge keys work; everything is bounded.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Most nodes of a document with its aliases expanded: far above any configuration, and a bound on
/// aliases of aliases.
const MAX_NODES: usize = 10_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 32;

/// A place in the document, both counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Line.
    pub line: usize,
    /// Column.
    pub column: usize,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Node {
    /// Where it starts.
    pub mark: Mark,
    /// The value.
    pub value: Value,
}

/// A value.
#[derive(Debug, Clone)]
pub enum Value {
    /// Absent, `null` or `~`.
    Null,
    /// Any other scalar as it was written.
    Scalar {
        /// Its text.
        text: String,
        /// Without quotes: may be a number or boolean.
        plain: bool,
    },
    /// A sequence.
    List(Vec<Node>),
    /// A mapping, in order; keys are distinct.
    Map(Vec<Entry>),
}

/// One key and its value.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// The key's place.
    pub mark: Mark,
    /// The value.
    pub node: Node,
}

/// An error in a document, and its place.
#[derive(Debug, PartialEq, Eq)]
pub struct Broken {
    /// The place.
    pub mark: Mark,
    /// One line.
    pub message: String,
}

impl Value {
    /// The usual name of this kind of value, for messages.
    pub fn noun(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Scalar { .. } => "a single value",
            Self::List(_) => "a list",
            Self::Map(_) => "a map",
        }
    }
}

/// Reads the one document of a text. An empty text is an empty map (config-74).
///
/// # Errors
/// Everything that is not YAML, duplicate keys (config-71), a second document (config-75).
pub fn parse(text: &str) -> Result<Node, Broken> {
    let mut reader =
        Reader { parser: Parser::new_from_str(text), anchors: BTreeMap::new(), nodes: 0 };
    let mut root = None;
    loop {
        let (event, span) = reader.next()?;
        match event {
            Event::StreamEnd => break,
            Event::DocumentStart(_) if root.is_some() => {
                return Err(Broken {
                    mark: mark(span),
                    message: "a second document begins here; only one is read".into(),
                });
            }
            Event::DocumentStart(_) => {
                let (event, span) = reader.next()?;
                root = Some(reader.node(event, span, 0)?);
            }
            _ => {}
        }
    }
    let empty = Node { mark: Mark { line: 1, column: 1 }, value: Value::Map(Vec::new()) };
    Ok(match root {
        None | Some(Node { value: Value::Null, .. }) => empty,
        Some(root) => root,
    })
}

fn mark(span: Span) -> Mark {
    Mark { line: span.start.line(), column: span.start.col() + 1 }
}

struct Reader<'a> {
    parser: Parser<'a, saphyr_parser::StrInput<'a>>,
    anchors: BTreeMap<usize, Node>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Broken> {
        match self.parser.next_event() {
            Some(Ok(event)) => Ok(event),
            Some(Err(e)) => Err(Broken {
                mark: Mark { line: e.marker().line(), column: e.marker().col() + 1 },
                message: format!("this is not YAML: {}", e.info()),
            }),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Broken> {
        let at = mark(span);
        self.count(1, at)?;
        if depth > MAX_DEPTH {
            return Err(Broken { mark: at, message: "nested too deeply".into() });
        }
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.is_none();
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let scalar = Value::Scalar { text: text.into_owned(), plain };
                (if null { Value::Null } else { scalar }, anchor)
            }
            Event::SequenceStart(anchor, _) => {
                let mut items = Vec::new();
                loop {
                    let (event, span) = self.next()?;
                    if event == Event::SequenceEnd {
                        break;
                    }
                    items.push(self.node(event, span, depth + 1)?);
                }
                (Value::List(items), anchor)
            }
            Event::MappingStart(anchor, _) => (self.map(depth)?, anchor),
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(Broken { mark: at, message: "an alias to itself".into() });
                };
                self.count(size(&node), at)?;
                return Ok(Node { mark: at, value: node.value });
            }
            _ => return Err(Broken { mark: at, message: "this is not YAML".into() }),
        };
        let node = Node { mark: at, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn map(&mut self, depth: usize) -> Result<Value, Broken> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut merged: Vec<Entry> = Vec::new();
        loop {
            let (event, span) = self.next()?;
            let at = mark(span);
            let key = match event {
                Event::MappingEnd => break,
                Event::Scalar(key, ..) => key.into_owned(),
                _ => {
                    return Err(Broken { mark: at, message: "a key must be a single word".into() });
                }
            };
            let (event, span) = self.next()?;
            let node = self.node(event, span, depth + 1)?;
            if key == "<<" {
                let sources = match node.value {
                    Value::List(items) => items,
                    _ => vec![node],
                };
                for source in sources {
                    match source.value {
                        Value::Map(entries) => merged.extend(entries),
                        _ => return Err(Broken { mark: at, message: "`<<` merges maps".into() }),
                    }
                }
            } else if let Some(first) = entries.iter().find(|e| e.key == key) {
                let message =
                    format!("the key `{key}` is here twice (first in line {})", first.mark.line);
                return Err(Broken { mark: at, message });
            } else {
                entries.push(Entry { key, mark: at, node });
            }
        }
        for entry in merged {
            if !entries.iter().any(|e| e.key == entry.key) {
                entries.push(entry);
            }
        }
        Ok(Value::Map(entries))
    }

    fn count(&mut self, more: usize, mark: Mark) -> Result<(), Broken> {
        self.nodes += more;
        if self.nodes > MAX_NODES {
            return Err(Broken { mark, message: format!("more than {MAX_NODES} values") });
        }
        Ok(())
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 1,
        Value::List(items) => 1 + items.iter().map(size).sum::<usize>(),
        Value::Map(entries) => 1 + entries.iter().map(|e| size(&e.node)).sum::<usize>(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(node: &Node) -> &[Entry] {
        match &node.value {
            Value::Map(entries) => entries,
            other => panic!("{other:?}"),
        }
    }

    #[test] // config-74
    fn an_empty_text_is_an_empty_map() {
        for text in ["", "# only a comment\n", "---\n", "---\n...\n", "null"] {
            assert!(entries(&parse(text).unwrap()).is_empty(), "{text:?}");
        }
    }

    #[test]
    fn nodes_know_their_place() {
        let root = parse("a:\n  b: 1\n  c:\n    - x\n").unwrap();
        let a = &entries(&root)[0];
        assert_eq!(a.mark, Mark { line: 1, column: 1 });
        let b = &entries(&a.node)[0];
        assert_eq!(b.mark, Mark { line: 2, column: 3 });
        assert_eq!(b.node.mark, Mark { line: 2, column: 6 });
    }

    #[test] // config-73
    fn quotes_and_null_are_told_apart() {
        let root = parse("a: ~\nb: 'null'\nc: 20\nd: \"20\"\ne:\n").unwrap();
        let kinds: Vec<_> = entries(&root)
            .iter()
            .map(|e| match &e.node.value {
                Value::Null => "null",
                Value::Scalar { plain: true, .. } => "plain",
                _ => "quoted",
            })
            .collect();
        assert_eq!(kinds, ["null", "quoted", "plain", "quoted", "null"]);
    }

    #[test] // config-71, config-75
    fn duplicate_keys_and_second_documents_are_refused() {
        let broken = parse("a: 1\nb:\n  c: 1\n  c: 2\n").unwrap_err();
        assert_eq!(broken.mark, Mark { line: 4, column: 3 });
        assert!(broken.message.contains("`c`"), "{}", broken.message);
        assert!(parse("a: 1\n---\nb: 1\n").unwrap_err().message.contains("second document"));
        assert_eq!(
            parse("a: [1\nb: 2").unwrap_err().message.split(':').next(),
            Some("this is not YAML")
        );
    }

    #[test] // config-76
    fn json_is_yaml() {
        let root = parse("{\"a\": {\"b\": [1, \"x\\n\", null]}}").unwrap();
        assert_eq!(entries(&root)[0].key, "a");
    }

    #[test]
    fn aliases_and_merges_are_written_out() {
        let root = parse("x: &x {a: 1, b: 2}\ny:\n  <<: *x\n  b: 3\nz: *x\n").unwrap();
        let y = &entries(&root)[1];
        let keys: Vec<_> = entries(&y.node).iter().map(|e| e.key.as_str()).collect();
        assert_eq!(keys, ["b", "a"]);
        assert_eq!(entries(&entries(&root)[2].node).len(), 2);
    }

    #[test]
    fn a_document_that_grows_by_aliases_is_refused() {
        let mut text = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n".to_owned();
        for i in 1..12 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            text.push_str(&format!("a{i}: &a{i} [{refs}]\n"));
        }
        assert!(parse(&text).unwrap_err().message.contains("values"));
        assert!(parse(&"[".repeat(10_000)).is_err());
        assert!(parse("a: &a [*a]").is_err());
    }
}
