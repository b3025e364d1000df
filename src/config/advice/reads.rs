//! What a template reads of an event, by its syntax tree.

use std::collections::HashSet;
use std::ops::Range;

use minijinja::machinery::ast;

/// The paths that a template reads without providing for their absence.
#[derive(Default)]
pub(super) struct Reads<'s> {
    pub paths: Vec<(String, Range<usize>)>,
    /// All that it reads, provided for or not.
    pub all: Vec<String>,
    /// Names that the template gives itself, by scope.
    own: Vec<HashSet<&'s str>>,
    /// Paths whose presence has been asked for around what is read, by their text.
    asked: Vec<String>,
}

impl<'s> Reads<'s> {
    fn statements(&mut self, statements: &[ast::Stmt<'s>]) {
        self.own.push(HashSet::new());
        statements.iter().for_each(|statement| self.statement(statement));
        self.own.pop();
    }

    pub(super) fn statement(&mut self, statement: &ast::Stmt<'s>) {
        match statement {
            ast::Stmt::Template(of) => self.statements(&of.children),
            ast::Stmt::EmitExpr(of) => self.expression(&of.expr),
            ast::Stmt::ForLoop(of) => {
                self.expression(&of.iter);
                self.own.push(HashSet::from(["loop"]));
                self.assign(&of.target);
                of.filter_expr.iter().for_each(|expr| self.expression(expr));
                self.statements(&of.body);
                self.own.pop();
                self.statements(&of.else_body);
            }
            ast::Stmt::IfCond(of) => {
                self.expression(&of.expr);
                let asked = self.asked.len();
                self.ask(&of.expr);
                self.statements(&of.true_body);
                self.statements(&of.false_body);
                self.asked.truncate(asked);
            }
            ast::Stmt::WithBlock(of) => {
                self.own.push(HashSet::new());
                for (target, expr) in &of.assignments {
                    self.expression(expr);
                    self.assign(target);
                }
                self.statements(&of.body);
                self.own.pop();
            }
            ast::Stmt::Set(of) => {
                self.expression(&of.expr);
                self.assign(&of.target);
            }
            ast::Stmt::SetBlock(of) => {
                self.statements(&of.body);
                self.assign(&of.target);
            }
            ast::Stmt::FilterBlock(of) => self.statements(&of.body),
            ast::Stmt::AutoEscape(of) => self.statements(&of.body),
            ast::Stmt::Do(of) => of.call.args.iter().for_each(|arg| self.argument(arg)),
            // Raw text, and what this build of the library does not have.
            _ => {}
        }
    }

    /// Takes note of the names that a target gives.
    fn assign(&mut self, target: &ast::Expr<'s>) {
        match target {
            ast::Expr::Var(of) => {
                if let Some(scope) = self.own.last_mut() {
                    scope.insert(of.id);
                }
            }
            ast::Expr::List(of) => of.items.iter().for_each(|item| self.assign(item)),
            ast::Expr::Tuple(of) => of.items.iter().for_each(|item| self.assign(item)),
            _ => {}
        }
    }

    /// Takes note of the paths whose presence an expression asks for by `is defined` and its like.
    fn ask(&mut self, expr: &ast::Expr<'s>) {
        match expr {
            ast::Expr::Test(of) if is_about_presence(of.name) => self.asked.extend(dotted(&of.expr)),
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
        if let Some(path) = dotted(expr) {
            let span = expr.span();
            let start = first_of(expr).unwrap_or(span.start_offset);
            return self.read(path, start as usize..span.end_offset as usize);
        }
        match expr {
            ast::Expr::Filter(of) => {
                let is_provided = matches!(of.name, "default" | "d");
                match of.expr.as_ref().and_then(dotted).filter(|_| is_provided) {
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
                match dotted(&of.left).filter(|_| matches!(of.op, ast::BinOpKind::ScOr)) {
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
                self.expression(&of.test_expr);
                let asked = self.asked.len();
                self.ask(&of.test_expr);
                self.expression(&of.true_expr);
                of.false_expr.iter().for_each(|expr| self.expression(expr));
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
        let is_own = self.own.iter().any(|scope| scope.contains(first));
        let is_asked = self.asked.iter().any(|asked| path == *asked || path.starts_with(&format!("{asked}.")));
        if !is_own {
            self.all.push(path.clone());
        }
        if !is_own && !is_asked {
            self.paths.push((path, span));
        }
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
    fn paths_that_are_read_are_found_and_those_provided_for_are_not() {
        check("{{ campaign.name }} {{ a | upper }}", &["campaign.name", "a"]);
        check("{{ a | default('x') }}{{ a.b | d }}", &[]);
        check("{{ a or b }}", &["b"]);
        check("{{ a.b or 'x' }}", &[]);
        check("{% if a is defined %}{{ a.b }}{% endif %}{{ a }}", &["a"]);
        check("{% if a %}{{ a }}{% endif %}", &["a", "a"]);
        check("{% for t in tags %}{{ t.x }}{{ loop.index }}{% endfor %}", &["tags"]);
        check("{% set x = a.b %}{{ x }}", &["a.b"]);
        check("{{ a['b'].c }}", &["a.b.c"]);
        check("{{ a[0].c }}{{ a[:3] }}", &["a", "a"]);
        check("{{ 'x' if a.b == 'y' else c }}", &["a.b", "c"]);
        check("{{ f(a) }}{{ a.items() }}", &["a", "a"]);
        check("{{ a is defined and a.b }}", &[]);
        check("{% raw %}{{ a }}{% endraw %}{# {{ b }} #}", &[]);
    }
}
