// Lists the definitions of JavaScript and TypeScript files as TypeScript's own parser sees them.
//
// Reads paths from stdin, one a line, and writes one JSON object a line; see bench/symbols.py.
// NODE_PATH must lead to the npm package typescript.
"use strict";

const fs = require("node:fs");
const ts = require("typescript");

const K = ts.SyntaxKind;
const FUNCTIONS = new Set([K.ArrowFunction, K.FunctionExpression]);

class Reader {
  constructor(file) {
    this.file = file;
    this.symbols = [];
    this.scopes = [];
  }

  line(position) {
    return this.file.getLineAndCharacterOfPosition(position).line + 1;
  }

  add(kind, name, node, whole = node) {
    const qualified = [...this.scopes.map((scope) => scope.name), name].join(".");
    const start = whole.getStart(this.file);
    this.symbols.push([kind, qualified, this.line(start), this.line(whole.getEnd())]);
  }

  inside(kind, name, node, whole = node) {
    this.add(kind, name, node, whole);
    this.scopes.push({ kind, name });
    ts.forEachChild(node, (child) => this.visit(child));
    this.scopes.pop();
  }

  children(node) {
    ts.forEachChild(node, (child) => this.visit(child));
  }

  named(node) {
    const text = node.name ? node.name.getText(this.file) : "";
    return text.replace(/^['"]|['"]$/g, "");
  }

  isDefault(node) {
    return (node.modifiers || []).some((modifier) => modifier.kind === K.DefaultKeyword);
  }

  member(node) {
    const parent = node.parent.kind;
    return (
      parent === K.ClassDeclaration ||
      parent === K.ClassExpression ||
      parent === K.InterfaceDeclaration
    );
  }

  variable(node) {
    const list = node.parent;
    const statement = list.parent;
    const value = node.initializer;
    if (node.name.kind !== K.Identifier || statement.kind !== K.VariableStatement) {
      return this.children(node);
    }
    const whole = list.declarations.length === 1 ? statement : node;
    const name = node.name.text;
    if (value && FUNCTIONS.has(value.kind)) {
      return this.inside("function", name, node, whole);
    }
    if (value && value.kind === K.ClassExpression) {
      return this.inside("class", name, node, whole);
    }
    if (statement.parent.kind === K.SourceFile) {
      const upper = name === name.toUpperCase() && name !== name.toLowerCase();
      this.add(upper ? "constant" : "variable", name, node, whole);
    }
    return this.children(node);
  }

  // `exports.f = function`, `module.exports.f = `, `A.prototype.f = `, `app.f = `
  assignment(node) {
    const left = node.left;
    if (
      node.operatorToken.kind !== K.EqualsToken ||
      this.scopes.some((scope) => scope.kind.match(/function|method|constructor/)) ||
      node.parent.kind !== K.ExpressionStatement ||
      left.kind !== K.PropertyAccessExpression ||
      !(FUNCTIONS.has(node.right.kind) || node.right.kind === K.ClassExpression)
    ) {
      return this.children(node);
    }
    const path = left.getText(this.file);
    if (!/^[\w$]+(\.[\w$]+)+$/.test(path) || path.startsWith("this.")) {
      return this.children(node);
    }
    const isMethod = path.includes(".prototype.");
    const kind = node.right.kind === K.ClassExpression ? "class" : isMethod ? "method" : "function";
    const name = path.replace(/^module\.exports\.|^exports\./, "").replace(".prototype.", ".");
    return this.inside(kind, name, node, node.parent);
  }

  visit(node) {
    switch (node.kind) {
      case K.FunctionDeclaration:
        return this.inside("function", this.named(node) || "default", node);
      case K.ClassDeclaration:
        return this.inside("class", this.named(node) || "default", node);
      case K.ExportAssignment: {
        const value = node.expression;
        if (!node.isExportEquals && FUNCTIONS.has(value.kind)) {
          return this.inside("function", this.named(value) || "default", value, node);
        }
        if (!node.isExportEquals && value.kind === K.ClassExpression) {
          return this.inside("class", this.named(value) || "default", value, node);
        }
        return this.children(node);
      }
      case K.Constructor:
        return this.inside("constructor", "constructor", node);
      case K.MethodDeclaration:
      case K.GetAccessor:
      case K.SetAccessor:
      case K.MethodSignature:
        if (!this.member(node)) return this.children(node);
        return this.inside("method", this.named(node), node);
      case K.PropertyDeclaration:
        if (node.initializer && FUNCTIONS.has(node.initializer.kind)) {
          return this.inside("method", this.named(node), node);
        }
        this.add("field", this.named(node), node);
        return this.children(node);
      case K.VariableDeclaration:
        return this.variable(node);
      case K.BinaryExpression:
        return this.assignment(node);
      case K.InterfaceDeclaration:
        return this.inside("interface", this.named(node), node);
      case K.TypeAliasDeclaration:
        this.add("type", this.named(node), node);
        return this.children(node);
      case K.EnumDeclaration:
        return this.inside("enum", this.named(node), node);
      case K.ModuleDeclaration: {
        if (this.named(node) === "global" && node.name.kind === K.Identifier) {
          return this.children(node);
        }
        let inner = node;
        const names = [this.named(node)];
        while (inner.body && inner.body.kind === K.ModuleDeclaration) {
          inner = inner.body;
          names.push(this.named(inner));
        }
        return this.inside("namespace", names.join("."), inner, node);
      }
      default:
        return this.children(node);
    }
  }
}

function kindOf(path) {
  if (/\.tsx$/.test(path)) return ts.ScriptKind.TSX;
  if (/\.[mc]?ts$/.test(path)) return ts.ScriptKind.TS;
  return ts.ScriptKind.JSX;
}

function read(path) {
  const source = fs.readFileSync(path, "utf8");
  const file = ts.createSourceFile(path, source, ts.ScriptTarget.Latest, true, kindOf(path));
  if (file.parseDiagnostics.length > 0) {
    return { error: String(file.parseDiagnostics[0].messageText) };
  }
  const reader = new Reader(file);
  reader.children(file);
  return { symbols: reader.symbols };
}

for (const path of fs.readFileSync(0, "utf8").split("\n").filter(Boolean)) {
  process.stdout.write(JSON.stringify({ path, ...read(path) }) + "\n");
}
