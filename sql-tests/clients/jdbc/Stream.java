import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.Statement;

/**
 * Reads a query's whole result through a portal, a thousand rows at a time, and
 * prints how many rows and bytes of text came. Run with too little memory to hold
 * the result, so it ends only if the driver and the server really stream.
 */
public final class Stream {
    public static void main(String[] arguments) throws Exception {
        try (Connection connection = DriverManager.getConnection(arguments[0])) {
            connection.setAutoCommit(false);
            long rows = 0;
            long bytes = 0;
            try (Statement statement = connection.createStatement()) {
                statement.setFetchSize(1000);
                try (ResultSet result = statement.executeQuery(arguments[1])) {
                    int columns = result.getMetaData().getColumnCount();
                    while (result.next()) {
                        rows++;
                        for (int i = 1; i <= columns; i++) {
                            String value = result.getString(i);
                            bytes += value == null ? 0 : value.length();
                        }
                    }
                }
            }
            connection.commit();
            System.out.println(rows + " " + bytes);
        }
    }
}
