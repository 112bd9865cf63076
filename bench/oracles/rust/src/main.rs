//! Lists the definitions of Rust files as syn sees them.
//!
//! Reads paths from stdin, one a line, and writes one JSON object a line; see bench/symbols.py.
//! What a macro in the place of an item is given is read as items if it is nothing but items.

use std::io::BufRead;

use proc_macro2::Span;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Attribute, File, Type};

struct Reader<'a> {
    lines: Vec<&'a str>,
    scopes: Vec<(bool, String)>,
    found: Vec<String>,
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 32 => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

impl<'a> Reader<'a> {
    fn add(&mut self, kind: &str, name: &str, attributes: &[Attribute], node: &dyn ToTokens) {
        let mut tokens = proc_macro2::TokenStream::new();
        node.to_tokens(&mut tokens);
        let spans: Vec<Span> = tokens.into_iter().map(|token| token.span()).collect();
        // Doc comments are attributes to syn: two tokens with one span each.
        let docs: Vec<_> = attributes
            .iter()
            .filter(|a| a.path.is_ident("doc") && self.is_comment(a.pound_token.span()))
            .map(|a| (a.pound_token.span().start(), a.span().end()))
            .collect();
        let start = spans
            .iter()
            .map(|span| span.start())
            .find(|start| !docs.iter().any(|(a, _)| a == start))
            .map_or(0, |start| start.line);
        let end = spans.last().map_or(0, |span| span.end().line);
        let mut parts: Vec<&str> = self.scopes.iter().map(|scope| scope.1.as_str()).collect();
        parts.push(name);
        self.found.push(format!(
            "[{}, {}, {start}, {end}]",
            quoted(kind),
            quoted(&parts.join("."))
        ));
    }

    fn is_comment(&self, span: Span) -> bool {
        let start = span.start();
        let line = self.lines[start.line - 1];
        let rest: String = line.chars().skip(start.column).collect();
        rest.starts_with('/')
    }

    fn inside(&mut self, is_function: bool, name: String, walk: impl FnOnce(&mut Self)) {
        self.scopes.push((is_function, name));
        walk(self);
        self.scopes.pop();
    }

    fn in_function(&self) -> bool {
        self.scopes.iter().any(|scope| scope.0)
    }

    fn text(&self, span: Span) -> String {
        let (start, end) = (span.start(), span.end());
        let mut out = String::new();
        for line in start.line..=end.line {
            let chars = self.lines[line - 1].chars();
            let from = if line == start.line { start.column } else { 0 };
            let to = if line == end.line { end.column } else { usize::MAX };
            out.extend(chars.skip(from).take(to.saturating_sub(from)));
            out.push(' ');
        }
        out
    }

    fn owner(&self, owner: &Type) -> String {
        if let Type::Path(path) = owner {
            if path.qself.is_none() {
                let names: Vec<_> = path.path.segments.iter().map(|s| s.ident.to_string()).collect();
                return names.join(".");
            }
        }
        let tokens: Vec<_> = owner.to_token_stream().into_iter().collect();
        let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else {
            return String::new();
        };
        let first = self.text(first.span());
        drop((first, last));
        let written = self.text(joined(&tokens));
        without_generics(&written)
    }

    fn tokens(&mut self, tokens: proc_macro2::TokenStream) {
        if let Ok(file) = syn::parse2::<File>(tokens) {
            if file.items.iter().all(|item| !matches!(item, syn::Item::Verbatim(_))) {
                self.visit_file(&file);
            }
        }
    }
}

fn joined(tokens: &[proc_macro2::TokenTree]) -> Span {
    let first = tokens[0].span();
    first.join(tokens[tokens.len() - 1].span()).unwrap_or(first)
}

fn without_generics(written: &str) -> String {
    let mut out = String::new();
    let mut depth = 0;
    let mut before = ' ';
    for c in written.split_whitespace().collect::<Vec<_>>().join(" ").chars() {
        match c {
            '<' => depth += 1,
            '>' if before != '-' && depth > 0 => depth -= 1,
            c if depth == 0 => out.push(c),
            _ => {}
        }
        before = c;
    }
    out.replace("::", ".").trim().to_string()
}

impl<'ast> Visit<'ast> for Reader<'_> {
    fn visit_item_fn(&mut self, node: &'ast syn::ItemFn) {
        let name = node.sig.ident.to_string();
        self.add("function", &name, &node.attrs, node);
        self.inside(true, name, |inner| visit::visit_item_fn(inner, node));
    }

    fn visit_impl_item_method(&mut self, node: &'ast syn::ImplItemMethod) {
        let name = node.sig.ident.to_string();
        self.add("method", &name, &node.attrs, node);
        self.inside(true, name, |inner| visit::visit_impl_item_method(inner, node));
    }

    fn visit_trait_item_method(&mut self, node: &'ast syn::TraitItemMethod) {
        let name = node.sig.ident.to_string();
        self.add("method", &name, &node.attrs, node);
        self.inside(true, name, |inner| visit::visit_trait_item_method(inner, node));
    }

    fn visit_foreign_item_fn(&mut self, node: &'ast syn::ForeignItemFn) {
        self.add("function", &node.sig.ident.to_string(), &node.attrs, node);
    }

    fn visit_foreign_item_static(&mut self, node: &'ast syn::ForeignItemStatic) {
        self.add("constant", &node.ident.to_string(), &node.attrs, node);
    }

    fn visit_item_struct(&mut self, node: &'ast syn::ItemStruct) {
        self.add("struct", &node.ident.to_string(), &node.attrs, node);
        visit::visit_item_struct(self, node);
    }

    fn visit_item_enum(&mut self, node: &'ast syn::ItemEnum) {
        self.add("enum", &node.ident.to_string(), &node.attrs, node);
        visit::visit_item_enum(self, node);
    }

    fn visit_item_union(&mut self, node: &'ast syn::ItemUnion) {
        self.add("union", &node.ident.to_string(), &node.attrs, node);
        visit::visit_item_union(self, node);
    }

    fn visit_item_trait(&mut self, node: &'ast syn::ItemTrait) {
        let name = node.ident.to_string();
        self.add("trait", &name, &node.attrs, node);
        self.inside(false, name, |inner| visit::visit_item_trait(inner, node));
    }

    fn visit_item_type(&mut self, node: &'ast syn::ItemType) {
        self.add("type", &node.ident.to_string(), &node.attrs, node);
    }

    fn visit_impl_item_type(&mut self, node: &'ast syn::ImplItemType) {
        self.add("type", &node.ident.to_string(), &node.attrs, node);
    }

    fn visit_trait_item_type(&mut self, node: &'ast syn::TraitItemType) {
        self.add("type", &node.ident.to_string(), &node.attrs, node);
    }

    fn visit_item_const(&mut self, node: &'ast syn::ItemConst) {
        if !self.in_function() {
            self.add("constant", &node.ident.to_string(), &node.attrs, node);
        }
        visit::visit_item_const(self, node);
    }

    fn visit_item_static(&mut self, node: &'ast syn::ItemStatic) {
        if !self.in_function() {
            self.add("constant", &node.ident.to_string(), &node.attrs, node);
        }
        visit::visit_item_static(self, node);
    }

    fn visit_impl_item_const(&mut self, node: &'ast syn::ImplItemConst) {
        if !self.in_function() {
            self.add("constant", &node.ident.to_string(), &node.attrs, node);
        }
        visit::visit_impl_item_const(self, node);
    }

    fn visit_trait_item_const(&mut self, node: &'ast syn::TraitItemConst) {
        if !self.in_function() {
            self.add("constant", &node.ident.to_string(), &node.attrs, node);
        }
        visit::visit_trait_item_const(self, node);
    }

    fn visit_item_mod(&mut self, node: &'ast syn::ItemMod) {
        let name = node.ident.to_string();
        self.add("module", &name, &node.attrs, node);
        self.inside(false, name, |inner| visit::visit_item_mod(inner, node));
    }

    fn visit_item_impl(&mut self, node: &'ast syn::ItemImpl) {
        let name = self.owner(&node.self_ty);
        self.inside(false, name, |inner| visit::visit_item_impl(inner, node));
    }

    fn visit_impl_item_macro(&mut self, node: &'ast syn::ImplItemMacro) {
        let tokens = &node.mac.tokens;
        if let Ok(inside) = syn::parse2::<syn::ItemImpl>(quote::quote! { impl X { #tokens } }) {
            let verbatim = |item: &syn::ImplItem| matches!(item, syn::ImplItem::Verbatim(_));
            if !inside.items.iter().any(verbatim) {
                inside.items.iter().for_each(|item| self.visit_impl_item(item));
            }
        }
    }

    fn visit_trait_item_macro(&mut self, node: &'ast syn::TraitItemMacro) {
        let tokens = &node.mac.tokens;
        if let Ok(inside) = syn::parse2::<syn::ItemTrait>(quote::quote! { trait X { #tokens } }) {
            let verbatim = |item: &syn::TraitItem| matches!(item, syn::TraitItem::Verbatim(_));
            if !inside.items.iter().any(verbatim) {
                inside.items.iter().for_each(|item| self.visit_trait_item(item));
            }
        }
    }

    fn visit_item_macro(&mut self, node: &'ast syn::ItemMacro) {
        match &node.ident {
            Some(name) => self.add("macro", &name.to_string(), &node.attrs, node),
            None => self.tokens(node.mac.tokens.clone()),
        }
    }
}

fn read(path: &str) -> Result<String, String> {
    let source = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let file = syn::parse_file(&source).map_err(|error| error.to_string())?;
    let mut reader = Reader { lines: source.lines().collect(), scopes: vec![], found: vec![] };
    reader.visit_file(&file);
    Ok(reader.found.join(", "))
}

fn main() {
    let body = || {
        for line in std::io::stdin().lock().lines() {
            let path = line.expect("stdin is text");
            match read(&path) {
                Ok(found) => println!("{{\"path\": {}, \"symbols\": [{found}]}}", quoted(&path)),
                Err(why) => println!("{{\"path\": {}, \"error\": {}}}", quoted(&path), quoted(&why)),
            }
        }
    };
    let deep = std::thread::Builder::new().stack_size(1 << 28).spawn(body);
    deep.expect("a thread").join().expect("no panic");
}
