// Command golang lists the definitions of Go files as go/parser sees them.
//
// It reads paths from stdin, one a line, and writes one JSON object a line; see bench/symbols.py.
package main

import (
	"bufio"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
)

type answer struct {
	Path    string  `json:"path"`
	Error   string  `json:"error,omitempty"`
	Symbols [][]any `json:"symbols"`
}

type reader struct {
	files   *token.FileSet
	symbols [][]any
}

func (r *reader) add(kind, scope, name string, node ast.Node) {
	if name == "_" {
		return
	}
	if scope != "" {
		name = scope + "." + name
	}
	start, end := r.files.Position(node.Pos()), r.files.Position(node.End())
	r.symbols = append(r.symbols, []any{kind, name, start.Line, end.Line})
}

func receiver(expr ast.Expr) string {
	switch typed := expr.(type) {
	case *ast.StarExpr:
		return receiver(typed.X)
	case *ast.ParenExpr:
		return receiver(typed.X)
	case *ast.IndexExpr:
		return receiver(typed.X)
	case *ast.IndexListExpr:
		return receiver(typed.X)
	case *ast.Ident:
		return typed.Name
	}
	return ""
}

func (r *reader) types(root ast.Node, scope string) {
	ast.Inspect(root, func(node ast.Node) bool {
		declaration, ok := node.(*ast.GenDecl)
		if !ok || declaration.Tok != token.TYPE {
			return true
		}
		for _, one := range declaration.Specs {
			spec := one.(*ast.TypeSpec)
			kind := "type"
			var whole ast.Node = spec
			if declaration.Lparen == token.NoPos {
				whole = declaration
			}
			switch inner := spec.Type.(type) {
			case *ast.StructType:
				kind = "struct"
			case *ast.InterfaceType:
				kind = "interface"
				within := spec.Name.Name
				if scope != "" {
					within = scope + "." + within
				}
				for _, method := range inner.Methods.List {
					if _, ok := method.Type.(*ast.FuncType); ok && len(method.Names) == 1 {
						r.add("method", within, method.Names[0].Name, method)
					}
				}
			}
			r.add(kind, scope, spec.Name.Name, whole)
		}
		return true
	})
}

func (r *reader) file(file *ast.File) {
	for _, declaration := range file.Decls {
		switch typed := declaration.(type) {
		case *ast.FuncDecl:
			kind, scope := "function", ""
			if typed.Recv != nil && len(typed.Recv.List) == 1 {
				kind, scope = "method", receiver(typed.Recv.List[0].Type)
			}
			r.add(kind, scope, typed.Name.Name, typed)
			if scope != "" {
				scope += "."
			}
			r.types(typed, scope+typed.Name.Name)
		case *ast.GenDecl:
			r.types(typed, "")
			for _, spec := range typed.Specs {
				values, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				kind := "variable"
				if typed.Tok == token.CONST {
					kind = "constant"
				}
				for _, name := range values.Names {
					r.add(kind, "", name.Name, values)
				}
			}
		}
	}
}

func main() {
	lines := bufio.NewScanner(os.Stdin)
	out := json.NewEncoder(os.Stdout)
	for lines.Scan() {
		path := lines.Text()
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
		if err != nil {
			out.Encode(answer{Path: path, Error: err.Error()})
			continue
		}
		found := &reader{files: files, symbols: [][]any{}}
		found.file(file)
		out.Encode(answer{Path: path, Symbols: found.symbols})
	}
}
