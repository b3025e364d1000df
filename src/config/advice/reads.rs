//! What a template reads of an event, by its syntax tree.

use std::collections::HashMap;
use std::ops::Range;

use minijinja::machinery::ast;

use crate::destination::view::DIGEST;

/// What stands in a path for one member of a list.
pub(super) const MEMBER: &str = "*";

/// The paths that a template reads without providing for their absence.
#[derive(Default)]
pub(super) struct Reads<'s> {
    pub paths: Vec<(String, Range<usize>)>,
    /// All that it reads, provided for or not.
    pub all: Vec<String>,
    /// What it reads of members of a digest's lists, each from the digest on: `digest.events.*.user.email`.
    pub members: Vec<(String, Range<usize>)>,
    /// Where those of `paths` begin that are read whatever comes, and neither in an `if` nor below it.
    pub outright: Vec<usize>,
    /// Names that the template gives itself, by scope, with what of a digest each stands for.
    own: Vec<HashMap<&'s str, Option<String>>>,
    /// Paths whose presence has been asked for around what is read, by their text.
    asked: Vec<String>,
    /// Conditions around what is read.
    conditions: usize,
}

impl<'s> Reads<'s> {
    /// Those of a body without a scope of its own: what is set in an `if` is there behind it.
    fn statements(&mut self, statements: &[ast::Stmt<'s>]) {
        statements.iter().for_each(|statement| self.statement(statement));
    }

    pub(super) fn statement(&mut self, statement: &ast::Stmt<'s>) {
        match statement {
            ast::Stmt::Template(of) => {
                self.own.push(HashMap::new());
                self.statements(&of.children);
                self.own.pop();
            }
            ast::Stmt::EmitExpr(of) => self.expression(&of.expr),
            ast::Stmt::ForLoop(of) => {
                self.expression(&of.iter);
                let member = self.of_digest(&of.iter).map(|list| format!("{list}.{MEMBER}"));
                self.own.push(HashMap::from([("loop", None)]));
                self.assign(&of.target, member);
                of.filter_expr.iter().for_each(|expr| self.expression(expr));
                self.statements(&of.body);
                self.own.pop();
                self.statements(&of.else_body);
            }
            ast::Stmt::IfCond(of) => {
                self.conditions += 1;
                self.expression(&of.expr);
                let asked = self.asked.len();
                self.ask(&of.expr);
                self.statements(&of.true_body);
                self.statements(&of.false_body);
                self.conditions -= 1;
                self.asked.truncate(asked);
            }
            ast::Stmt::WithBlock(of) => {
                self.own.push(HashMap::new());
                for (target, expr) in &of.assignments {
                    self.expression(expr);
                    let of_digest = self.of_digest(expr);
                    self.assign(target, of_digest);
                }
                self.statements(&of.body);
                self.own.pop();
            }
            ast::Stmt::Set(of) => {
                self.expression(&of.expr);
                let of_digest = self.of_digest(&of.expr);
                self.assign(&of.target, of_digest);
            }
            ast::Stmt::SetBlock(of) => {
                self.statements(&of.body);
                self.assign(&of.target, None);
            }
            ast::Stmt::FilterBlock(of) => self.statements(&of.body),
            ast::Stmt::AutoEscape(of) => self.statements(&of.body),
            ast::Stmt::Do(of) => of.call.args.iter().for_each(|arg| self.argument(arg)),
            // Raw text, and what this build of the library does not have.
            _ => {}
        }
    }

    /// Takes note of the names that a target gives, and of what one of them stands for.
    fn assign(&mut self, target: &ast::Expr<'s>, of_digest: Option<String>) {
        match target {
            ast::Expr::Var(of) => {
                if let Some(scope) = self.own.last_mut() {
                    scope.insert(of.id, of_digest);
                }
            }
            ast::Expr::List(of) => of.items.iter().for_each(|item| self.assign(item, None)),
            ast::Expr::Tuple(of) => of.items.iter().for_each(|item| self.assign(item, None)),
            _ => {}
        }
    }

    /// The path of what belongs to a digest, if that is known.
    fn of_digest(&self, expr: &ast::Expr<'s>) -> Option<String> {
        match expr {
            ast::Expr::Var(of) => match self.own.iter().rev().find_map(|scope| scope.get(of.id)) {
                Some(stands_for) => stands_for.clone(),
                None => (of.id == DIGEST).then(|| DIGEST.to_owned()),
            },
            ast::Expr::GetAttr(of) => Some(format!("{}.{}", self.of_digest(&of.expr)?, of.name)),
            ast::Expr::GetItem(of) => {
                let ast::Expr::Const(key) = &of.subscript_expr else { return None };
                Some(format!("{}.{}", self.of_digest(&of.expr)?, key.value.as_str().unwrap_or(MEMBER)))
            }
            ast::Expr::Slice(of) => self.of_digest(&of.expr),
            ast::Expr::Filter(of) => {
                let list = self.of_digest(of.expr.as_ref()?)?;
                match of.name {
                    "first" | "last" => Some(format!("{list}.{MEMBER}")),
                    "sort" | "reverse" | "list" | "unique" => Some(list),
                    _ => None,
                }
            }
            _ => None,
        }
    }

    /// The same of a member of one of its lists.
    fn of_member(&self, expr: &ast::Expr<'s>) -> Option<String> {
        let is_path = matches!(expr, ast::Expr::GetAttr(_) | ast::Expr::GetItem(_));
        // A member as a whole is what it is.
        let is_below = |path: &String| !path.ends_with(MEMBER) && path.split('.').any(|step| step == MEMBER);
        self.of_digest(expr).filter(|path| is_path && is_below(path))
    }

    /// What an expression is, where it is nothing but a path.
    fn path(&self, expr: &ast::Expr<'s>) -> Option<String> {
        dotted(expr).or_else(|| self.of_member(expr))
    }

    /// Takes note of the paths whose presence an expression asks for by `is defined` and its like.
    fn ask(&mut self, expr: &ast::Expr<'s>) {
        match expr {
            ast::Expr::Test(of) if is_about_presence(of.name) => {
                let paths = [dotted(&of.expr), self.of_member(&of.expr)];
                self.asked.extend(paths.into_iter().flatten());
            }
            ast::Expr::UnaryOp(of) => self.ask(&of.expr),
            ast::Expr::BinOp(of) => {
                self.ask(&of.left);
                self.ask(&of.right);
            }
            _ => {}
        }
    }

    fn argument(&mut self, argument: &ast::CallArg<'s>) {
        let (ast::CallArg::Pos(expr)
        | ast::CallArg::Kwarg(_, expr)
        | ast::CallArg::PosSplat(expr)
        | ast::CallArg::KwargSplat(expr)) = argument;
        self.expression(expr);
    }

    fn expression(&mut self, expr: &ast::Expr<'s>) {
        let span = expr.span();
        let span = first_of(expr).unwrap_or(span.start_offset) as usize..span.end_offset as usize;
        if let Some(path) = self.of_member(expr) {
            if !self.is_asked(&path) {
                self.members.push((path, span));
            }
            return;
        }
        if let Some(path) = dotted(expr) {
            return self.read(path, span);
        }
        match expr {
            ast::Expr::Filter(of) => {
                let is_provided = matches!(of.name, "default" | "d");
                match of.expr.as_ref().and_then(|expr| self.path(expr)).filter(|_| is_provided) {
                    Some(path) => self.all.push(path),
                    None => of.expr.iter().for_each(|expr| self.expression(expr)),
                }
                of.args.iter().for_each(|arg| self.argument(arg));
            }
            ast::Expr::Test(of) => {
                if !is_about_presence(of.name) {
                    self.expression(&of.expr);
                }
                of.args.iter().for_each(|arg| self.argument(arg));
            }
            ast::Expr::BinOp(of) => {
                // `a or b` provides for the absence of `a`.
                match self.path(&of.left).filter(|_| matches!(of.op, ast::BinOpKind::ScOr)) {
                    Some(path) => self.all.push(path),
                    None => self.expression(&of.left),
                }
                let asked = self.asked.len();
                self.ask(&of.left);
                self.expression(&of.right);
                self.asked.truncate(asked);
            }
            ast::Expr::UnaryOp(of) => self.expression(&of.expr),
            ast::Expr::Compare(of) => {
                self.expression(&of.expr);
                of.ops.iter().for_each(|op| self.expression(&op.expr));
            }
            ast::Expr::IfExpr(of) => {
                self.conditions += 1;
                self.expression(&of.test_expr);
                let asked = self.asked.len();
                self.ask(&of.test_expr);
                self.expression(&of.true_expr);
                of.false_expr.iter().for_each(|expr| self.expression(expr));
                self.conditions -= 1;
                self.asked.truncate(asked);
            }
            ast::Expr::GetAttr(of) => self.expression(&of.expr),
            ast::Expr::GetItem(of) => {
                self.expression(&of.expr);
                self.expression(&of.subscript_expr);
            }
            ast::Expr::Slice(of) => {
                self.expression(&of.expr);
                [&of.start, &of.stop, &of.step].into_iter().flatten().for_each(|expr| self.expression(expr));
            }
            ast::Expr::Call(of) => {
                // A function's or a method's own name is no field.
                if let ast::Expr::GetAttr(method) = &of.expr {
                    self.expression(&method.expr);
                }
                of.args.iter().for_each(|arg| self.argument(arg));
            }
            ast::Expr::List(of) => of.items.iter().for_each(|item| self.expression(item)),
            ast::Expr::Tuple(of) => of.items.iter().for_each(|item| self.expression(item)),
            ast::Expr::Map(of) => of.keys.iter().chain(&of.values).for_each(|expr| self.expression(expr)),
            ast::Expr::Var(_) | ast::Expr::Const(_) => {}
        }
    }

    fn read(&mut self, path: String, span: Range<usize>) {
        let first = path.split('.').next().unwrap_or_default();
        let is_own = self.own.iter().any(|scope| scope.contains_key(first));
        if !is_own {
            self.all.push(path.clone());
        }
        if !is_own && !self.is_asked(&path) {
            if self.conditions == 0 {
                self.outright.push(span.start);
            }
            self.paths.push((path, span));
        }
    }

    fn is_asked(&self, path: &str) -> bool {
        self.asked.iter().any(|asked| path == *asked || path.starts_with(&format!("{asked}.")))
    }
}

fn is_about_presence(test: &str) -> bool {
    matches!(test, "defined" | "undefined" | "none")
}

/// `campaign.name`, `campaign["name"]`: the dotted path, if the expression is nothing else.
fn dotted(expr: &ast::Expr<'_>) -> Option<String> {
    match expr {
        ast::Expr::Var(of) => Some(of.id.to_owned()),
        ast::Expr::GetAttr(of) => Some(format!("{}.{}", dotted(&of.expr)?, of.name)),
        ast::Expr::GetItem(of) => match &of.subscript_expr {
            ast::Expr::Const(key) => Some(format!("{}.{}", dotted(&of.expr)?, key.value.as_str()?)),
            _ => None,
        },
        _ => None,
    }
}

/// Where the first name of a path begins: the library notes the last step's place.
fn first_of(expr: &ast::Expr<'_>) -> Option<u32> {
    match expr {
        ast::Expr::Var(of) => Some(of.span().start_offset),
        ast::Expr::GetAttr(of) => first_of(&of.expr),
        ast::Expr::GetItem(of) => first_of(&of.expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use minijinja::machinery::parse;

    use super::*;

    #[track_caller]
    fn check(source: &str, expected: &[&str]) {
        let parsed = parse(source, "template", Default::default()).expect(source);
        let mut reads = Reads::default();
        reads.statement(&parsed);
        let paths: Vec<_> = reads.paths.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(paths, expected, "{source}");
        for (path, span) in &reads.paths {
            let text = &source[span.clone()];
            assert!(text.starts_with(path.split('.').next().unwrap_or_default()), "{text} is not {path}");
        }
    }

    #[test]
    fn what_is_read_of_a_digests_lists_is_known_by_its_path() {
        let check = |source: &str, expected: &[&str]| {
            let parsed = parse(source, "template", Default::default()).expect(source);
            let mut reads = Reads::default();
            reads.statement(&parsed);
            let paths: Vec<_> = reads.members.iter().map(|(path, _)| path.as_str()).collect();
            assert_eq!(paths, expected, "{source}");
            assert!(reads.members.iter().all(|(_, span)| !source[span.clone()].trim().is_empty()), "{source}");
        };
        check(
            "{{ digest.groups[0].name }} {{ digest['events'][1].user.email }}",
            &["digest.groups.*.name", "digest.events.*.user.email"],
        );
        check(
            "{% for e in digest.events %}{{ e.user.email }}{{ loop.index }}{{ e }}{% endfor %}{{ e.x }}",
            &["digest.events.*.user.email"],
        );
        check("{% for e in digest.events[:3] | reverse %}{{ e.a }}{% endfor %}", &["digest.events.*.a"]);
        check(
            "{% for g in digest.groups %}{% for p in g.parts %}{{ p.value }}{% endfor %}{% endfor %}",
            &["digest.groups.*.parts", "digest.groups.*.parts.*.value"],
        );
        check(
            "{{ (digest.groups | first).name }}{% set g = digest.groups | last %}{{ g.count }}",
            &["digest.groups.*.name", "digest.groups.*.count"],
        );
        check("{% with g = digest.groups[0] %}{{ g.x | default('') }}{{ g.y or 'a' }}{% endwith %}", &[]);
        check("{% for e in digest.events %}{% if e.a is defined %}{{ e.a }}{% endif %}{% endfor %}", &[]);
        check("{% for k, v in digest.groups[0].items() %}{{ v.x }}{% endfor %}", &[]);
        check(
            "{% for e in digest.events | selectattr('x') %}{{ e.y }}{% endfor %}{% for digest in tags %}{{ digest[0].x }}{% endfor %}",
            &[],
        );
    }

    #[test]
    fn what_is_read_below_an_if_is_not_read_outright() {
        let check = |source: &str, expected: &[&str]| {
            let parsed = parse(source, "template", Default::default()).expect(source);
            let mut reads = Reads::default();
            reads.statement(&parsed);
            let paths = reads.paths.iter().filter(|(_, span)| reads.outright.contains(&span.start));
            let paths: Vec<_> = paths.map(|(path, _)| path.as_str()).collect();
            assert_eq!(paths, expected, "{source}");
        };
        check("{{ a }}{% if b %}{{ c }}{% else %}{{ d }}{% endif %}{{ e if f else g }}{{ h }}", &["a", "h"]);
    }

    #[test]
    fn paths_that_are_read_are_found_and_those_provided_for_are_not() {
        check("{{ campaign.name }} {{ a | upper }}", &["campaign.name", "a"]);
        check("{{ a | default('x') }}{{ a.b | d }}", &[]);
        check("{{ a or b }}", &["b"]);
        check("{{ a.b or 'x' }}", &[]);
        check("{% if a is defined %}{{ a.b }}{% endif %}{{ a }}", &["a"]);
        check("{% if a %}{{ a }}{% endif %}", &["a", "a"]);
        check("{% for t in tags %}{{ t.x }}{{ loop.index }}{% endfor %}", &["tags"]);
        check("{% set x = a.b %}{{ x }}", &["a.b"]);
        check("{% for t in tags %}{% set x = t %}{% endfor %}{{ x }}", &["tags", "x"]);
        for body in [
            "{% if type %}@{% endif %}",
            "{% filter upper %}@{% endfilter %}",
            "{% autoescape false %}@{% endautoescape %}",
        ] {
            let source = format!("{}{{{{ x }}}}", body.replace('@', "{% set x = 'y' %}"));
            let event = std::collections::BTreeMap::from([("type", "t")]);
            let shown = minijinja::Environment::new().render_str(&source, event);
            assert_eq!(shown.ok().as_deref().map(str::trim), Some("y"), "{source}");
            check(&source, if body.contains("type") { &["type"] } else { &[] });
        }
        check("{{ a['b'].c }}", &["a.b.c"]);
        check("{{ a[0].c }}{{ a[:3] }}", &["a", "a"]);
        check("{{ 'x' if a.b == 'y' else c }}", &["a.b", "c"]);
        check("{{ f(a) }}{{ a.items() }}", &["a", "a"]);
        check("{{ a is defined and a.b }}", &[]);
        check("{% raw %}{{ a }}{% endraw %}{# {{ b }} #}", &[]);
    }
}
