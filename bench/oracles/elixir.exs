# Lists the definitions of Elixir files as Elixir's own parser sees them.
#
# Reads paths from stdin, one a line, and writes one JSON object a line; see bench/symbols.py.
# A last line of 0 says that the syntax tree does not tell it (`def f, do: x`).

defmodule Oracle do
  @modules %{defmodule: "module", defprotocol: "protocol", defimpl: "implementation"}
  @functions %{
    def: "function",
    defp: "function",
    defdelegate: "function",
    defmacro: "macro",
    defmacrop: "macro",
    defguard: "macro",
    defguardp: "macro"
  }

  def read(path) do
    options = [columns: true, token_metadata: true, emit_warnings: false]

    with {:ok, source} <- File.read(path),
         {:ok, tree} <- Code.string_to_quoted(source, options) do
      {:ok, tree |> walk([]) |> Enum.reverse()}
    else
      error -> {:error, inspect(error)}
    end
  rescue
    error -> {:error, inspect(error)}
  end

  defp walk(tree, scope), do: walk(tree, scope, [])

  defp walk({:@, _, [{name, _, arguments}]}, scope, found) when is_atom(name) and is_list(arguments) do
    Enum.reduce(arguments, found, &walk(&1, scope, &2))
  end

  defp walk({macro, meta, [name | rest] = arguments}, scope, found) when is_map_key(@modules, macro) do
    inner = scope ++ [module(macro, name, arguments)]
    walk(rest, inner, [symbol(@modules[macro], inner, meta) | found])
  end

  defp walk({macro, meta, [head | rest]}, scope, found) when is_map_key(@functions, macro) do
    case head(head) do
      nil ->
        walk([head | rest], scope, found)

      name ->
        inner = scope ++ [name]
        walk([head | rest], inner, [symbol(@functions[macro], inner, meta) | found])
    end
  end

  defp walk({macro, meta, [_ | _] = arguments}, [_ | _] = scope, found)
       when macro in [:defstruct, :defexception] do
    last = scope |> List.last() |> String.split(".") |> List.last()
    walk(arguments, scope, [symbol("struct", scope ++ [last], meta) | found])
  end

  defp walk({form, _, arguments}, scope, found) do
    walk(arguments, scope, walk(form, scope, found))
  end

  defp walk({left, right}, scope, found), do: walk(right, scope, walk(left, scope, found))
  defp walk(list, scope, found) when is_list(list), do: Enum.reduce(list, found, &walk(&1, scope, &2))
  defp walk(_, _, found), do: found

  defp module(:defimpl, name, arguments) do
    target = arguments |> Enum.filter(&Keyword.keyword?/1) |> Enum.find_value(& &1[:for])
    if target, do: "#{written(name)}.#{written(target)}", else: written(name)
  end

  defp module(_, name, _), do: written(name)

  defp head({:when, _, [head | _]}), do: head(head)
  defp head({:unquote, _, [_]} = whole), do: written(whole)
  defp head({name, _, arguments}) when is_atom(name) and (is_list(arguments) or is_atom(arguments)), do: to_string(name)
  defp head({name, _, arguments}) when is_list(arguments), do: written(name)
  defp head(_), do: nil

  defp written(tree), do: tree |> Macro.to_string() |> String.replace(~r/\s+/, " ")

  defp symbol(kind, names, meta) do
    last = Keyword.get(meta, :end) || Keyword.get(meta, :closing)
    last = if Keyword.has_key?(meta, :do), do: Keyword.get(last || [], :line, 0), else: 0
    [kind, Enum.join(names, "."), meta[:line], last]
  end
end

defmodule Json do
  def text(text) do
    escaped =
      for <<char::utf8 <- text>>, into: "" do
        case char do
          ?" -> "\\\""
          ?\\ -> "\\\\"
          c when c < 32 -> "\\u" <> String.pad_leading(Integer.to_string(c, 16), 4, "0")
          c -> <<c::utf8>>
        end
      end

    "\"" <> escaped <> "\""
  end

  def symbol([kind, name, first, last]), do: "[#{text(kind)}, #{text(name)}, #{first}, #{last}]"
end

:io.setopts(:standard_io, encoding: :utf8)

for line <- IO.stream(:stdio, :line) do
  path = String.trim_trailing(line, "\n")

  found =
    case Oracle.read(path) do
      {:ok, symbols} -> "\"symbols\": [" <> Enum.map_join(symbols, ", ", &Json.symbol/1) <> "]"
      {:error, reason} -> "\"error\": " <> Json.text(reason)
    end

  IO.puts("{\"path\": #{Json.text(path)}, #{found}}")
end
