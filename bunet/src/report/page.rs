//! An HTML page under construction, well-formed as XML too: headings, tables, SVG, pictures as data URIs.

use cli::{Table, escape};
use std::fmt::Write;

const STYLE: &str = "
body { font: 15px/1.5 sans-serif; color: #1c2026; background: #fff; max-width: 62em; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.6em; margin: 0 0 .2em; }
h2 { font-size: 1.15em; margin: 2em 0 .6em; border-bottom: 1px solid #d5d9df; }
p { margin: .3em 0; color: #444b55; }
dl { display: flex; flex-wrap: wrap; gap: .8em 2.2em; margin: 1.4em 0; }
dt { color: #5c6470; font-size: .85em; }
dd { margin: 0; font-size: 1.25em; }
table { border-collapse: collapse; font-size: .9em; margin: .6em 0; }
th, td { text-align: left; padding: .15em 1em .15em 0; border-bottom: 1px solid #eceff3; vertical-align: top; }
.n { text-align: right; font-variant-numeric: tabular-nums; }
img, svg { max-width: 100%; height: auto; margin: .6em 0; }
.scroll { overflow-x: auto; }
pre { font-size: .8em; background: #f5f6f8; padding: 1em; overflow-x: auto; }
";

/// The page.
pub(crate) struct Page {
    title: String,
    body: String,
}

impl Page {
    pub(crate) fn new(title: &str) -> Self {
        let title = escape(title);
        Self { body: format!("<h1>{title}</h1>\n"), title }
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.body, "{text}");
    }

    pub(crate) fn heading(&mut self, text: &str) {
        self.push(format_args!("<h2>{}</h2>", escape(text)));
    }

    pub(crate) fn paragraph(&mut self, text: &str) {
        self.push(format_args!("<p>{}</p>", escape(text)));
    }

    /// Names with values, side by side.
    pub(crate) fn figures(&mut self, figures: &[(&str, String)]) {
        let one = |(name, value): &(&str, String)| {
            format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape(name), escape(value))
        };
        let all: String = figures.iter().map(one).collect();
        self.push(format_args!("<dl>\n{all}</dl>"));
    }

    pub(crate) fn table(&mut self, table: &Table) {
        self.push(format_args!("<div class=\"scroll\">\n{}</div>", table.html()));
    }

    /// A drawing of crate `plot`; inside HTML it needs no name space.
    pub(crate) fn drawing(&mut self, svg: &str) {
        let svg = svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
        self.push(format_args!("<div class=\"scroll\">\n{svg}</div>"));
    }

    /// A picture by its data URI.
    pub(crate) fn picture(&mut self, uri: &str, text: &str) {
        self.push(format_args!("<p><img src=\"{uri}\" alt=\"{}\" /></p>", escape(text)));
    }

    /// Long text that is shown when asked for.
    pub(crate) fn fold(&mut self, name: &str, text: &str) {
        let (name, text) = (escape(name), escape(text.trim_end()));
        self.push(format_args!("<details><summary>{name}</summary>\n<pre>{text}</pre></details>"));
    }

    pub(crate) fn finish(self) -> String {
        let Self { title, body } = self;
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\" />\n\
             <meta name=\"viewport\" content=\"width=device-width\" />\n<title>{title}</title>\n\
             <style>{STYLE}</style>\n</head>\n<body>\n{body}</body>\n</html>\n"
        )
    }
}
