import com.sun.source.tree.ClassTree;
import com.sun.source.tree.CompilationUnitTree;
import com.sun.source.tree.MethodTree;
import com.sun.source.tree.Tree;
import com.sun.source.tree.VariableTree;
import com.sun.source.util.JavacTask;
import com.sun.source.util.SourcePositions;
import com.sun.source.util.TreePathScanner;
import com.sun.source.util.Trees;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import javax.lang.model.element.Modifier;
import javax.tools.Diagnostic;
import javax.tools.DiagnosticCollector;
import javax.tools.JavaCompiler;
import javax.tools.JavaFileObject;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;

/**
 * Lists the definitions of Java files as javac sees them.
 *
 * <p>Reads paths from stdin, one a line, and writes one JSON object a line; see bench/symbols.py.
 */
public final class Symbols extends TreePathScanner<Void, Void> {
  private static final Map<Tree.Kind, String> KINDS =
      Map.of(
          Tree.Kind.CLASS, "class",
          Tree.Kind.INTERFACE, "interface",
          Tree.Kind.ENUM, "enum",
          Tree.Kind.RECORD, "record",
          Tree.Kind.ANNOTATION_TYPE, "annotation");

  private final CompilationUnitTree unit;
  private final SourcePositions positions;
  private final List<String> found = new ArrayList<>();
  private final Deque<String> scopes = new ArrayDeque<>();

  private Symbols(CompilationUnitTree unit, SourcePositions positions) {
    this.unit = unit;
    this.positions = positions;
  }

  private static String quoted(String text) {
    return '"' + text.replace("\\", "\\\\").replace("\"", "\\\"").replace("\n", " ") + '"';
  }

  private void add(String kind, String name, Tree node) {
    long start = positions.getStartPosition(unit, node);
    long end = positions.getEndPosition(unit, node);
    if (start < 0 || end <= start) {
      return; // a default constructor, or a record's own member
    }
    List<String> parts = new ArrayList<>();
    scopes.descendingIterator().forEachRemaining(parts::add);
    parts.add(name);
    found.add(
        "[%s, %s, %d, %d]"
            .formatted(
                quoted(kind),
                quoted(String.join(".", parts)),
                unit.getLineMap().getLineNumber(start),
                unit.getLineMap().getLineNumber(end - 1)));
  }

  @Override
  public Void visitClass(ClassTree node, Void nothing) {
    String name = node.getSimpleName().toString();
    if (name.isEmpty()) {
      return super.visitClass(node, nothing);
    }
    add(KINDS.get(node.getKind()), name, node);
    scopes.push(name);
    super.visitClass(node, nothing);
    scopes.pop();
    return null;
  }

  private ClassTree owner() {
    return getCurrentPath().getParentPath().getLeaf() instanceof ClassTree owner ? owner : null;
  }

  @Override
  public Void visitMethod(MethodTree node, Void nothing) {
    ClassTree owner = owner();
    boolean constructs = node.getReturnType() == null && node.getName().contentEquals("<init>");
    String name = constructs ? owner.getSimpleName().toString() : node.getName().toString();
    if (positions.getEndPosition(unit, node) < 0
        || (constructs && positions.getStartPosition(unit, node)
            == positions.getStartPosition(unit, owner))) {
      return null;
    }
    add(constructs ? "constructor" : "method", name, node);
    scopes.push(name);
    super.visitMethod(node, nothing);
    scopes.pop();
    return null;
  }

  @Override
  public Void visitVariable(VariableTree node, Void nothing) {
    ClassTree owner = owner();
    boolean named = owner != null && !owner.getSimpleName().contentEquals("");
    if (named && !implicit(owner, node)) {
      var flags = node.getModifiers().getFlags();
      boolean constant =
          owner.getKind() == Tree.Kind.INTERFACE
              || owner.getKind() == Tree.Kind.ANNOTATION_TYPE
              || (flags.contains(Modifier.STATIC) && flags.contains(Modifier.FINAL));
      add(constant ? "constant" : "field", node.getName().toString(), node);
    }
    return super.visitVariable(node, nothing);
  }

  /** Says whether a variable is an enum's member, or a component of a record. */
  private boolean implicit(ClassTree owner, VariableTree node) {
    var flags = node.getModifiers().getFlags();
    if (owner.getKind() == Tree.Kind.RECORD) {
      return !flags.contains(Modifier.STATIC);
    }
    return owner.getKind() == Tree.Kind.ENUM && node.toString().startsWith("/*public static final");
  }

  private static String read(String path) throws Exception {
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    DiagnosticCollector<JavaFileObject> problems = new DiagnosticCollector<>();
    try (StandardJavaFileManager files =
        compiler.getStandardFileManager(problems, null, StandardCharsets.UTF_8)) {
      JavacTask task =
          (JavacTask)
              compiler.getTask(
                  null, files, problems, List.of(), null, files.getJavaFileObjects(Path.of(path)));
      CompilationUnitTree unit = task.parse().iterator().next();
      for (Diagnostic<?> problem : problems.getDiagnostics()) {
        if (problem.getKind() == Diagnostic.Kind.ERROR) {
          return quoted("error") + ": " + quoted(problem.getMessage(null));
        }
      }
      Symbols symbols = new Symbols(unit, Trees.instance(task).getSourcePositions());
      symbols.scan(unit, null);
      return quoted("symbols") + ": [" + String.join(", ", symbols.found) + "]";
    }
  }

  public static void main(String[] arguments) throws Exception {
    BufferedReader lines =
        new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    PrintStream out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    for (String path = lines.readLine(); path != null; path = lines.readLine()) {
      out.println("{" + quoted("path") + ": " + quoted(path) + ", " + read(path) + "}");
    }
  }
}
